"""uvicorn's HTTP/1.1 protocol with limits on a connection's memory and time."""

import asyncio
import logging
import re
from dataclasses import dataclass, field
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gateway_svc import metrics
from gateway_svc.http_server import hang_up
from gateway_svc.http_server.connections import ConnectionLimit
from gateway_svc.http_server.response import Response
from gateway_svc.http_server.transport import LingeringTransport
from service_kit.telemetry.access_log import peer_address
from service_kit.telemetry.line_limiter import LineLimiter

MAX_FIELDS = 100
"""Header fields of a request."""
MAX_HEAD = 32 * 1024
"""Bytes of a request's line and header fields, each field as `name: value` and a line break."""
MAX_TRAILERS = 8 * 1024
"""Bytes of a chunked body's trailers and chunk extensions."""
MAX_CHUNK_OVERHEAD = 16
"""Bytes of chunk framing for each byte of the body that do not count as chunk extensions."""

_END = b"\r\n\r\n"
# RFC 3986, section 3.2.2; an empty host, which RFC 9112 allows, names none.
_HOST = re.compile(rb"(?:\[[0-9A-Za-z:.]+\]|(?:[0-9A-Za-z._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::[0-9]*)?")


class _RefusedError(Exception):
    """Raised in a callback with the status and the message of the answer; the context of httptools' own error."""


_HEAD_TOO_LARGE = (431, "Request head too large.")
_TRAILERS_TOO_LARGE = (431, "Trailers or chunk extensions too large.")
_INVALID = (400, "Invalid HTTP request received.")
_INVALID_HOST = (400, "A request needs exactly one valid Host field.")
_HEAD_TOO_SLOW = (408, "Request head took too long.")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """State shared by the connections of one server."""

    head_timeout: float
    """Seconds in which a head must be complete, from its first byte, or from the connection when nothing is sent."""
    stall_timeout: float
    """Seconds for which a client may leave an answer unread."""
    connections: ConnectionLimit
    refusal_lines: LineLimiter = field(default_factory=lambda: LineLimiter(logger, "refusal"))


class Protocol(HttpToolsProtocol):
    """One connection.

    Beyond `asyncio.Protocol` and httptools' callbacks this overrides or calls uvicorn's `_start_asgi_task` and
    `_unset_keepalive_if_required`.
    """

    transport: LingeringTransport

    def __init__(self, *args: Any, limits: Limits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._head_timer: asyncio.TimerHandle | None = None
        self._silent = True
        """Until the first unfinished head, whose first byte restarts the timer."""
        self._in_head = False
        self._new = 0
        """Bytes of the piece that is being parsed, if no message had begun before it."""
        self._head_bytes = 0
        """At least the bytes of the head so far; 0 when it began behind a body in one piece."""
        self._overhead = 0
        """Bytes of the body's framing, less what the body's data may need."""
        self._trailers = 0
        self._tail = b""
        """Offset after the last parsed byte."""
        self._pending = b""
        """Received bytes that cannot be parsed yet."""
        self._running: RequestResponseCycle | None = None
        self._task: asyncio.Task[None] | None = None
        self._host: bytes | None = None
        """The last valid one: clients send the same one in all requests of a connection."""
        self._refusal: tuple[int, str] | None = None

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse the connection if there are too many, otherwise wait for a request."""
        file = transport.get_extra_info("socket").fileno()
        if not self._limits.connections.admits(len(self.connections), file):
            transport.abort()
            return
        super().connection_made(LingeringTransport(transport, self.loop, self._limits.stall_timeout))
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the request that is being handled."""
        if self.transport is None:
            return
        self._abandon()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._stop_awaiting_head()
        self.transport.lost()
        self._limits.connections.left(len(self.connections))
        self.pipeline.clear()
        self._pending = b""

    def data_received(self, data: bytes) -> None:
        """Parse `data`, or drop it when the connection is about to be closed."""
        transport = self.transport
        if transport.unread:
            transport.count_rest(len(data))
        if self._refusal is not None or transport.closing:
            return
        if self._pending:
            data, self._pending = self._pending + data, b""
        self._parse(data)
        if not self._in_head and (transport.unread or self._answering() or self.timeout_keep_alive_task):
            self._stop_awaiting_head()
        else:
            self._await_head()

    def pause_writing(self) -> None:
        """Give the client some time to read its answer."""
        super().pause_writing()
        self.transport.stalled()

    def resume_writing(self) -> None:
        """Go on writing."""
        super().resume_writing()
        if not self.transport.is_closing():
            self.transport.resumed()

    # httptools' callbacks; what they raise is the context of the HttpParserError that feed_data raises

    def on_message_begin(self) -> None:
        """Begin a head."""
        self._in_head = True
        self._head_bytes = self._new
        HttpToolsProtocol.on_message_begin(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header field, drop a trailer."""
        if not self._in_head:
            self._trailers += len(name) + len(value) + 4
            if self._trailers > MAX_TRAILERS:
                raise _RefusedError(*_TRAILERS_TOO_LARGE)
            if name.lower() == b"connection":  # the parser would obey; other fields of the framing it refuses itself
                raise _RefusedError(*_INVALID)
            return
        if len(self.headers) == MAX_FIELDS:
            raise _RefusedError(*_HEAD_TOO_LARGE)
        HttpToolsProtocol.on_header(self, name, value)

    def on_headers_complete(self) -> None:
        """Start or queue the request, unless its head is refused or must be parsed again without Upgrade."""
        if not 0 < self._head_bytes <= MAX_HEAD and self._size_of_head() > MAX_HEAD:
            raise _RefusedError(*_HEAD_TOO_LARGE)
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise _RefusedError(*_INVALID)
            return
        self._check_host()
        HttpToolsProtocol.on_headers_complete(self)
        self._in_head = False
        self._overhead = self._trailers = 0
        self.transport.unread = True

    def on_body(self, body: bytes) -> None:
        """Hand a part of the body to the request."""
        self._overhead -= len(body) * (1 + MAX_CHUNK_OVERHEAD)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request's body."""
        if self._in_head:  # it is parsed again without Upgrade
            return
        self.transport.unread = False
        if self.cycle.response_complete:
            self.transport.rest_read()
        else:
            HttpToolsProtocol.on_message_complete(self)

    # uvicorn's callbacks

    def on_response_complete(self) -> None:
        """Continue with the next request, or with the rest of this one."""
        HttpToolsProtocol.on_response_complete(self)
        if not (self._pending or self._refusal or self.transport.unread) or self.transport.is_closing():
            return
        if self._pending and not self.pipeline:
            pending, self._pending = self._pending, b""
            self.data_received(pending)
        if self._answering():
            return
        if self._refusal is not None:
            self._send_refusal()
        elif self.transport.unread:
            self.transport.read_rest()

    def send_400_response(self, msg: str) -> None:
        """Refuse the request that is being received."""
        self._refuse(400, msg)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        response: Any = Response(app, cycle)
        self._task = self.loop.create_task(cycle.run_asgi(response))
        self._task.add_done_callback(self.tasks.discard)
        self.tasks.add(self._task)

    # parsing

    def _parse(self, data: bytes) -> None:
        """Parse `data`, at most one request's head at a time: what follows a queued request has to wait.

        An unfinished head waits, too, as bytes: parsed, it would take several times the memory.
        """
        start, length = 0, len(data)
        while start < length and self._refusal is None:
            end = start if self.pipeline else self._end_of_piece(data, start)
            if end == start:
                self._pending = data[start:]
                break
            self._feed(data[start:end])
            start = end
        if self.pipeline:
            self.flow.pause_reading()
        elif self._in_head and self._refusal is None and self._head_bytes + len(self._pending) > MAX_HEAD:
            self._refuse(*_HEAD_TOO_LARGE)

    def _end_of_piece(self, data: bytes, start: int) -> int:
        """Return how far `data` can be parsed from `start`."""
        if self._in_head:
            end = (self._tail + data[start:]).find(_END)
            return start if end < 0 else start + end + len(_END) - len(self._tail)
        end = data.find(_END, start)
        if end >= 0:
            return end + len(_END)
        line = -1 if self.transport.unread else data.find(b"\r\n", start)  # a malformed request line is refused at once
        return len(data) if line < 0 else line + 2

    def _feed(self, piece: bytes) -> None:
        self._new = 0
        if self.transport.unread:
            self._overhead += len(piece)
        else:
            self._unset_keepalive_if_required()
            if self._in_head:
                self._head_bytes += len(piece)
            else:
                self._new = len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            self._parse_without_upgrade(piece[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            # no variable for the context: its traceback would keep that, and the connection, in a reference cycle
            self._refuse(*(error.__context__.args if isinstance(error.__context__, _RefusedError) else _INVALID))
        else:
            if self._in_head:
                self._tail = piece[1 - len(_END) :]
            elif self.transport.unread and self._overhead > MAX_TRAILERS:
                self._refuse(*_TRAILERS_TOO_LARGE)

    def _parse_without_upgrade(self, rest: bytes) -> None:
        """Parse the head again as if it had no Upgrade (RFC 9110, section 7.8), then `rest`.

        The parser takes an Upgrade as the end of HTTP on the connection, and the body for what comes after it.
        """
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % field for field in self.headers if field[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self._in_head = False
        self._feed(b"\r\n".join(lines) + _END + rest)

    def _check_host(self) -> None:
        found = None
        for name, value in self.headers:
            if name == b"host":
                if found is not None:
                    raise _RefusedError(*_INVALID_HOST)
                found = value
        if found is None:
            if self.parser.get_http_version() not in {"0.9", "1.0"}:
                raise _RefusedError(*_INVALID_HOST)
        elif found != self._host:
            if not _HOST.fullmatch(found.strip(b" \t")):
                raise _RefusedError(*_INVALID_HOST)
            self._host = found

    def _size_of_head(self) -> int:
        line = len(self.parser.get_method()) + len(self.url) + len("  HTTP/1.1\r\n")
        return line + sum(len(name) + len(value) + len(": \r\n") for name, value in self.headers) + len("\r\n")

    # what ends early

    def _answering(self) -> bool:
        """Whether an answer is to be sent before anything else is."""
        cycle = self._running
        return cycle is not None and not cycle.response_complete and not cycle.disconnected

    def _abandon(self) -> None:
        """Cancel the request that is being handled, which gets no answer from the application."""
        if self._answering() and self._running is not None and self._task is not None:
            self._running.disconnected = True
            self._running.message_event.set()
            hang_up.cancel(self._task)

    def _refuse(self, status: int, message: str) -> None:
        """Answer and close after the answers to the requests before; drop what else is received."""
        metrics.request_refused(status)
        if self._limits.refusal_lines.admit(status):
            peer = peer_address(self.client[0]) if self.client else ""
            logger.warning(message, extra={"status": status, "peer": peer})
        self._refusal = (status, message)
        self._pending = b""
        if self.transport.unread:
            if self.cycle is not self._running:
                self.pipeline.popleft()
            elif self.cycle.response_started:
                self._abandon()
                self.transport.close()
                return
            else:
                self._abandon()
        if not self._answering():
            self._send_refusal()

    def _send_refusal(self) -> None:
        if self._refusal is None or self.transport.is_closing():
            return
        status, message = self._refusal
        fields = [
            *self.server_state.default_headers,
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(message)),
            (b"connection", b"close"),
        ]
        lines = [b"%b: %b\r\n" % field for field in fields]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", message.encode()]))
        self.transport.unread = True
        self.transport.close()

    def _await_head(self) -> None:
        if self._head_timer is not None and self._silent:
            self._stop_awaiting_head()
            self._silent = False
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._limits.head_timeout, self._head_timed_out)

    def _stop_awaiting_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_timed_out(self) -> None:
        self._head_timer = None
        if self._refusal is not None:
            return  # the connection is about to close, and the rest of the request is discarded
        if self._in_head:
            self._refuse(*_HEAD_TOO_SLOW)
        else:
            self.transport.close()
