"""Log lines on standard error, whatever it is: a file, a pipe, blocking or not."""

import asyncio
import logging
import os
import select
import threading

_PIPE_BUF = select.PIPE_BUF
"""Bytes that one write adds to a pipe as a whole, however many processes share it (POSIX, write)."""


class StderrHandler(logging.Handler):
    """Writes lines in the order they come, and joins those of one turn of an event loop to one write.

    A full pipe is waited for, as a blocking descriptor would. Lines without a reader are dropped.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._pending: list[bytes] = []
        self._size = 0
        self._torn = False
        """Whether a failed write has left a part of a line."""
        self._writing = threading.RLock()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, after the lines that wait."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001  # logging's own rule: a record never fails who logs it
            self.handleError(record)
        else:
            self.write(f"{line}\n".encode(errors="backslashreplace"))

    def write(self, line: bytes, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Write a line at once; in the thread of `loop`, at the end of its turn at the latest."""
        with self._writing:
            if self._size + len(line) > _PIPE_BUF:
                self.flush()
            self._pending.append(line)
            self._size += len(line)
            if loop is None:
                self.flush()
            elif len(self._pending) == 1:
                loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write the lines that wait. `logging` calls this when the process ends."""
        with self._writing:
            if self._pending:
                data = b"".join(self._pending)
                self._pending.clear()
                self._size = 0
                self._write(b"\n" + data if self._torn else data)

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._fd, left) :]
            except BlockingIOError:
                poll = select.poll()
                poll.register(self._fd, select.POLLOUT)
                poll.poll()
            except OSError:
                break
        if len(left) < len(data):
            self._torn = bool(left) and data[-len(left) - 1] != ord("\n")
