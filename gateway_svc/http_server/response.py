"""How a response is written: in one piece where the application has its whole body at once."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_CONNECTION_FIELDS = {b"connection", b"transfer-encoding"}
"""Fields by which uvicorn decides whether the connection is kept."""
PART = 64 * 1024
"""Bytes of a body that are written at once: a client that reads nothing must not hold the whole of a large document."""


class Response:
    """An application for one request, with a `send` of its own.

    A start is held back until the body begins, as ASGI demands. If that is the whole body, both are one write; uvicorn
    writes twice and takes several times as long. It writes the rest: streams, HEAD, bodies longer than PART, the last
    answer of a connection.
    """

    __slots__ = ("_app", "_cycle", "_start")

    def __init__(self, app: ASGIApp, cycle: RequestResponseCycle) -> None:
        self._app = app
        self._cycle = cycle
        self._start: Message | None = None

    def __call__(self, scope: Scope, receive: Receive, _: Send) -> Awaitable[None]:
        """Let the application respond."""
        return self._app(scope, receive, self._send)

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        if self._start is not None:
            start, self._start = self._start, None
            if not message.get("more_body") and self._write(start, message.get("body", b"")):
                return
            await self._cycle.send(start)  # type: ignore[arg-type]  # uvicorn's type of the same message
        body: bytes = message.get("body", b"")
        last = max(len(body) - 1, 0) // PART * PART
        for offset in range(0, last, PART):  # uvicorn waits before each while the client does not read
            part = body[offset : offset + PART]
            await self._cycle.send({"type": "http.response.body", "body": part, "more_body": True})
        await self._cycle.send({**message, "body": body[last:]})  # type: ignore[arg-type]

    def _write(self, start: Message, body: bytes) -> bool:
        """Write a whole response; returns False when that is left to uvicorn."""
        cycle = self._cycle
        if (
            not cycle.keep_alive
            or len(body) > PART
            or cycle.disconnected
            or cycle.response_started
            or cycle.flow.write_paused
            or cycle.scope["method"] == "HEAD"
        ):
            return False
        fields = [*cycle.default_headers, *start.get("headers", ())]
        named = dict(fields)
        if named.get(b"content-length") != b"%d" % len(body) or not _CONNECTION_FIELDS.isdisjoint(named):
            return False
        head = b"".join([STATUS_LINE[start["status"]], *[b"%b: %b\r\n" % field for field in fields]])
        if not head.count(b"\r") == head.count(b"\n") == 1 + len(fields) or b"\0" in head:
            return False  # uvicorn refuses it (RFC 9110, section 5.5)
        cycle.transport.write(b"%b\r\n%b" % (head, body))
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.message_event.set()
        cycle.on_response()
        return True
