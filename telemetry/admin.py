"""The admin port: /livez, /readyz and /metrics on a thread of their own."""

import logging
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

logger = logging.getLogger(__name__)

Probe = Callable[[], str | None]
"""Returns None when all is well, otherwise a sentence that says what is not."""


class AdminServer:
    """Serves /livez, /readyz and /metrics; a failing probe answers 503 with its sentence."""

    def __init__(self, host: str, port: int, *, livez: Probe, readyz: Probe) -> None:
        """Bind `host:port`; port 0 takes any free one.

        Raises:
            OSError: when the address cannot be bound.
        """
        self._probes = {"/livez": livez, "/readyz": readyz}
        self._metrics = make_wsgi_app()
        self._server = make_server(host, port, self._answer, server_class=_Server, handler_class=_QuietHandler)
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
        elif problem := probe():
            status, text = "503 Service Unavailable", problem
        else:
            status, text = "200 OK", "ok"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{text}\n".encode()]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    timeout = 10

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        logger.debug(format, *args)
