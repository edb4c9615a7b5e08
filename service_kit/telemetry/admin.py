"""The admin port: /livez, /readyz and /metrics, on an event loop and a few threads of their own.

A probe must be answered whatever clients do to this port or to the others: connections are few and short, the one that
has kept the server waiting longest gives way to a new one, and file descriptors are held in reserve.
"""

import asyncio
import errno
import http.client
import io
import logging
import os
import resource
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING
from wsgiref.handlers import SimpleHandler

from prometheus_client import make_wsgi_app

from service_kit.threads import EssentialThread

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from _typeshed import OptExcInfo

CONNECTIONS = 64
"""At a time, and never more than a quarter of the file descriptors that the process may have."""
SPARE_DESCRIPTORS = 4
"""With these connections are still accepted when the process has used up its file descriptors."""
REQUEST_TIMEOUT = 5.0
"""Seconds from the acceptance of a connection to the end of its request's head."""
ANSWER_TIMEOUT = 10.0
"""Seconds from there until the client has taken the answer."""
MAX_HEAD = 16 * 1024
"""Bytes."""
THREADS = 4
_USED_UP = {errno.EMFILE, errno.ENFILE}

logger = logging.getLogger(__name__)

Probe = Callable[[], str | None]
"""Returns None when all is well, otherwise what is wrong."""


class AdminServer:
    """Serves /livez, /readyz and /metrics; a failing probe answers 503 with its sentence. One request a connection."""

    def __init__(self, listener: socket.socket, *, livez: Probe, readyz: Probe) -> None:
        """Answer on `listener` once started, and close it in the end."""
        self._probes = {"/livez": livez, "/readyz": readyz}
        self._metrics = make_wsgi_app()
        self._listener = listener
        listener.setblocking(False)
        with suppress(AttributeError, OSError):  # Linux has it
            # A connection is accepted when its request arrives, or a second later: a slow probe needs no place before.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = CONNECTIONS if files == resource.RLIM_INFINITY else min(CONNECTIONS, files // 4)
        self.port: int = listener.getsockname()[1]
        """The port that is bound."""
        self._loop = asyncio.SelectorEventLoop()
        self._stop = asyncio.Event()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="admin")
        self._null = os.open(os.devnull, os.O_RDONLY)
        self._spares = [os.dup(self._null) for _ in range(SPARE_DESCRIPTORS)]
        self._open: set[asyncio.Task[None]] = set()
        self._waiting: dict[asyncio.Task[None], None] = {}
        """Those of them that wait for their client, the longest first."""
        self._thread = EssentialThread("admin", self._run)

    def start(self) -> None:
        """Start answering."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and close the port."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._listener.close()
        for descriptor in (self._null, *self._spares):
            os.close(descriptor)

    async def _serve(self) -> None:
        accepting, stopping = asyncio.create_task(self._accept()), asyncio.create_task(self._stop.wait())
        await asyncio.wait((accepting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if accepting.done():
            accepting.result()  # an error, which ends the thread and is logged

    async def _accept(self) -> None:
        pending = asyncio.Event()
        while True:
            # Linux's accept() wants a descriptor before it looks for a connection: it is asked only when there is one.
            self._loop.add_reader(self._listener, pending.set)
            await pending.wait()
            self._loop.remove_reader(self._listener)
            pending.clear()
            try:
                connection = self._take()
            except OSError as error:
                logger.debug("connection failed: %s", error)
                if error.errno in _USED_UP:
                    await (self._close_one() if self._open else asyncio.sleep(0.1))
                continue
            task = self._loop.create_task(self._converse(connection))
            self._open.add(task)
            task.add_done_callback(self._open.discard)
            await asyncio.sleep(0)  # a request that is here already is read before its connection could be closed
            if len(self._open) > self._most:
                await self._close_one(but=task)

    def _take(self) -> socket.socket:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            if error.errno not in _USED_UP or not self._spares:
                raise
            os.close(self._spares.pop())
            connection, _ = self._listener.accept()
        connection.setblocking(False)
        return connection

    async def _close_one(self, but: asyncio.Task[None] | None = None) -> None:
        """Close the connection that has waited longest for its client, or wait until one has been answered."""
        longest = next((task for task in self._waiting if task is not but), None)
        if longest is None:
            await asyncio.wait(self._open, return_when=asyncio.FIRST_COMPLETED)
        else:
            del self._waiting[longest]
            longest.cancel()  # and closed before the event loop comes to what arrives next

    async def _converse(self, connection: socket.socket) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # for the type checker
        self._waiting[task] = None
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                head = await self._head(connection)
            self._waiting.pop(task)
            async with asyncio.timeout(ANSWER_TIMEOUT):
                answer = await self._loop.run_in_executor(self._threads, self._respond, head)
                self._waiting[task] = None
                await self._loop.sock_sendall(connection, answer)
        except (OSError, TimeoutError) as error:
            logger.debug("connection failed: %s", error)
        finally:
            self._waiting.pop(task, None)
            self._close(connection)

    async def _head(self, connection: socket.socket) -> bytes:
        """Return a request's line and header fields, cut off where it is too long."""
        head = b""
        while b"\r\n\r\n" not in head and len(head) < MAX_HEAD:
            received = await self._loop.sock_recv(connection, MAX_HEAD)
            if not received:
                raise ConnectionError("the client closed before the end of its request")
            head += received
        return head

    def _close(self, connection: socket.socket) -> None:
        if len(self._spares) < SPARE_DESCRIPTORS:
            # In one step: what is closed first may be another thread's before it is opened again.
            descriptor = connection.detach()
            os.dup2(self._null, descriptor, inheritable=False)
            self._spares.append(descriptor)
        else:
            connection.close()

    def _respond(self, head: bytes) -> bytes:
        output = io.BytesIO()
        try:
            environ = _environ(head)
        except (ValueError, http.client.HTTPException):
            environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "", "SERVER_PROTOCOL": "HTTP/1.0"}
        _Handler(io.BytesIO(), output, io.StringIO(), environ).run(self._answer)
        return output.getvalue()

    def _answer(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            answer: Iterable[bytes] = self._metrics(environ, start_response)
            return answer
        probe = self._probes.get(path)
        if not path:
            status, text = "400 Bad Request", "this is not an HTTP request, or one that is too large"
        elif probe is None:
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


class _Handler(SimpleHandler):
    def log_exception(self, exc_info: "OptExcInfo") -> None:
        """Log an exception of the application; the client receives a 500."""
        logger.error("the answer failed", exc_info=exc_info)


def _environ(head: bytes) -> dict[str, str]:
    """Return the parts of a request's head that are used, as WSGI names them (PEP 3333).

    Raises:
        ValueError, http.client.HTTPException: when it is malformed or incomplete.
    """
    line, _, fields = head.partition(b"\r\n")
    method, target, version = line.decode("latin-1").split(" ")
    if not version.startswith("HTTP/1.") or b"\r\n\r\n" not in head:
        raise ValueError("no request of HTTP/1")
    path, _, query = target.partition("?")
    headers = http.client.parse_headers(io.BytesIO(fields))
    return {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": version,
        "HTTP_ACCEPT": headers.get("Accept", ""),
        "HTTP_ACCEPT_ENCODING": headers.get("Accept-Encoding", ""),
    }


def _ask(probe: Probe) -> str | None:
    try:
        return probe()
    except Exception:
        logger.exception("a probe failed")
        return "the probe itself failed; the log says why"
