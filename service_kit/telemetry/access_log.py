"""The access log: one line for each request or call, or for a share of them.

A line is what `logs` would write of the same record, without the way through `logging`, which takes longer than all
else that is done for a short request.
"""

import asyncio
import logging
import random
import re
import time
from collections.abc import Hashable, Mapping

import orjson

from service_kit.telemetry import logs
from service_kit.telemetry.context import current
from service_kit.telemetry.line_limiter import LineLimiter
from service_kit.telemetry.stderr import StderrHandler

ALWAYS_LOGGED = (401, 403, 409, 429)
"""Codes of requests that succeeded for us, logged whatever the share is: signs of guessing."""

_RANGE = 2**32
_RANDOM = re.compile("[0-9a-f]{8}")


class AccessLog:
    """Writes the lines of requests or calls, those of the same requests in every service."""

    def __init__(
        self, name: str, message: str, share: float = 1.0, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        """Write as `logs.configure` has set up by now.

        Args:
            name: of the logger.
            message: of every line.
            share: of the requests that get a line, from 0, none, to 1, all.
            loop: in whose thread `log` is called, so that lines may be joined; without one, any thread may call it.
        """
        self._logger = logging.getLogger(name)
        self._message = message
        self._bound = round(share * _RANGE)
        self._loop = loop
        self._handler, self._static = _json_output()
        self._limiter = LineLimiter(self._logger, message)

    def draw(self, received: str | None = None) -> int | None:
        """Return the random number that decides whether a request is logged; None where no number is needed.

        It is not the trace id, which clients choose. `received` is the number that the caller drew, from the metadata
        of a call, and comes first.
        """
        if received and _RANDOM.fullmatch(received):
            return int(received, 16)
        return random.getrandbits(32) if 0 < self._bound < _RANGE else None  # no secret depends on it

    def log(self, fields: Mapping[str, object], level: int = logging.INFO, *, always: Hashable | None = None) -> None:
        """Write the line of the current request, if it is in the share.

        With `always`, a status, it is written whatever the share, as far as LineLimiter admits lines of that status.
        """
        if not self._logger.isEnabledFor(level):
            return
        request = current.get()
        if always is not None:
            if not self._limiter.admit(always):
                return
        elif self._bound < _RANGE and (request.log_random or 0) >= self._bound:
            return
        if self._handler is None:
            self._logger.log(level, self._message, extra=fields)
            return
        record = {
            "time": logs.timestamp(time.time()),
            "level": logging.getLevelName(level),
            "logger": self._logger.name,
            "message": self._message,
            **self._static,
            **fields,
            "trace_id": request.trace_id,
        }
        if span_id := request.span.id:
            record["span_id"] = span_id
        self._handler.write(_line(record), self._loop)


def peer_address(host: str) -> str:
    """Return the address of a connection's other end, that of an IPv4 client as IPv4 on a dual-stack listener."""
    return host.removeprefix("::ffff:")


def _json_output() -> tuple[StderrHandler | None, Mapping[str, str]]:
    """Return where JSON lines go, and the fields that all of them have; None when lines are text."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, StderrHandler) and isinstance(handler.formatter, logs.JSONFormatter):
            return handler, handler.formatter.static
    return None, {}


def _line(record: Mapping[str, object]) -> bytes:
    try:
        line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
        if line.isascii():
            return line
    except TypeError:  # such as of a lone surrogate
        pass
    return f"{logs.dumps(record, default=str)}\n".encode()
