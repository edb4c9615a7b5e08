"""Closing a connection so that the client can read its answer (RFC 9112, section 9.6)."""

import asyncio
from typing import Any

LINGER_INTERVAL = 1.0
"""Seconds for which the rest of a request is read after its answer."""
LINGER_RATE = 64 * 1024
"""Bytes in each interval for which it is read on."""
LINGER_BYTES = 1024 * 1024
"""How much is read at most."""


class LingeringTransport(asyncio.Transport):
    """A transport whose `close` reads a bounded rest of the request first.

    Closing a socket while the client still sends makes the kernel reset the connection, and the client may lose an
    answer that it has not read yet.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, stall_timeout: float) -> None:
        """`stall_timeout` is how many seconds the client may go without reading what was sent."""
        super().__init__()
        self.unread = False
        """Whether there is more to come of a request that began."""
        self._transport = transport
        self._loop = loop
        self._stall_timeout = stall_timeout
        self.closing = False
        """Whether `close` was called."""
        self._left = 0
        self._rest: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self.write = transport.write  # type: ignore[method-assign]  # spares a call for each answer
        self.pause_reading = transport.pause_reading  # type: ignore[method-assign]
        self.resume_reading = transport.resume_reading  # type: ignore[method-assign]
        self.abort = transport.abort  # type: ignore[method-assign]

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return the transport's state of the connection."""
        return self._transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """Tell whether `close` was called or the connection is lost."""
        return self.closing or self._transport.is_closing()

    def close(self) -> None:
        """Send what was written, then close: at once, or after the rest of the request while `unread` is set."""
        if self.is_closing():
            return
        self.closing = True
        if not self.unread:
            self._transport.close()
            self.stalled()
            return
        if self._transport.can_write_eof():  # TLS has no half-closed connections
            self._transport.write_eof()
        if not self._transport.is_reading():
            self._transport.resume_reading()
        self.read_rest()

    def read_rest(self) -> None:
        """Abort the connection when the client stops sending, or after LINGER_BYTES, unless `rest_read` is called."""
        self.rest_read()
        self._left = LINGER_BYTES
        self._rest = self._loop.call_later(LINGER_INTERVAL, self._read_on, self._left)

    def count_rest(self, size: int) -> None:
        """Count bytes that arrived after `read_rest`."""
        if self._rest is not None:
            self._left -= size
            if self._left < 0:
                self.abort()

    def rest_read(self) -> None:
        """Undo `read_rest`."""
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def _read_on(self, left_before: int) -> None:
        if left_before - self._left < LINGER_RATE:
            self.abort()
        else:
            self._rest = self._loop.call_later(LINGER_INTERVAL, self._read_on, self._left)

    def stalled(self) -> None:
        """Abort the connection after the stall timeout, unless `resumed` is called before."""
        self.resumed()
        self._stall = self._loop.call_later(self._stall_timeout, self.abort)

    def resumed(self) -> None:
        """Undo `stalled`."""
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def lost(self) -> None:
        """Drop the timers of a connection that is lost."""
        self.rest_read()
        self.resumed()
