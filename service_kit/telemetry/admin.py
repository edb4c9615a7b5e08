"""The admin port: /livez, /readyz and /metrics on a thread of their own."""

import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import make_wsgi_app

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

logger = logging.getLogger(__name__)

Probe = Callable[[], str | None]
"""Returns None when all is well, otherwise a sentence that says what is not."""


class AdminServer:
    """Serves /livez, /readyz and /metrics; a failing probe answers 503 with its sentence."""

    def __init__(self, listener: socket.socket, *, livez: Probe, readyz: Probe) -> None:
        """Answer on `listener` once started, and close it in the end."""
        self._probes = {"/livez": livez, "/readyz": readyz}
        self._metrics = make_wsgi_app()
        self._server = _Server(listener)
        self._server.set_app(self._answer)
        self._thread = threading.Thread(target=self._server.serve_forever, name="admin", daemon=True)

    @property
    def port(self) -> int:
        """The port that is bound."""
        return self._server.server_port

    def start(self) -> None:
        """Start answering."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and close the port."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def _answer(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            answer: Iterable[bytes] = self._metrics(environ, start_response)
            return answer
        probe = self._probes.get(path)
        if probe is None:
            status, text = "404 Not Found", "not found; there are /livez, /readyz and /metrics"
        elif environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            status, text = "405 Method Not Allowed", "only GET and HEAD are allowed"
        elif problem := _ask(probe):
            status, text = "503 Service Unavailable", problem
        else:
            status, text = "200 OK", "ok"
        headers = [("Content-Type", "text/plain; charset=utf-8")]
        if status.startswith("405"):
            headers.append(("Allow", "GET, HEAD"))
        start_response(status, headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [f"{text}\n".encode()]


def _ask(probe: Probe) -> str | None:
    try:
        return probe()
    except Exception:
        logger.exception("a probe failed")
        return "the probe itself failed; the log says why"


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_name, self.server_port = listener.getsockname()[:2]
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002  # the base class's
        logger.debug("connection failed: %s", sys.exc_info()[1])


class _Handler(WSGIRequestHandler):
    timeout = 10

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        logger.debug(format, *args)
