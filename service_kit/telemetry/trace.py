"""Trace ids: one for each request, from the client's header to the last log line."""

import re
import secrets
from contextvars import ContextVar
from typing import NamedTuple

HEADER = "X-Trace-ID"
METADATA_KEY = "x-trace-id"
"""gRPC metadata keys are lower case (gRPC over HTTP/2, "Custom-Metadata")."""
TRACEPARENT = "traceparent"
"""https://www.w3.org/TR/trace-context/"""
TRACESTATE = "tracestate"
"""What tracing systems add for themselves; it goes on with a traceparent."""

_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})(?P<span>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
_TRACESTATE = re.compile(r"[\x20-\x7e]{1,512}")


class Parent(NamedTuple):
    """The caller's span, as its headers tell of it."""

    trace_id: str
    span_id: str
    flags: int
    """The lowest bit says that the caller records its span."""
    tracestate: str = ""

    @property
    def traceparent(self) -> str:
        """The header that tells a callee of this span, in version 00: what a later one adds is a client's own text."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


current: ContextVar[str] = ContextVar("trace_id", default="")
"""The trace id of the request that this thread or task serves; empty outside a request."""
parent: ContextVar[Parent | None] = ContextVar("parent", default=None)
"""The span of the caller of this request, when it told of one."""


def accept(value: str | None, caller: Parent | None = None) -> str:
    """Return the trace id of a request.

    It is the client's own when that is 1 to 64 of `[A-Za-z0-9._-]`, otherwise that of the caller's span, otherwise a
    new one.
    """
    if value and _ACCEPTABLE.fullmatch(value):
        return value
    return caller.trace_id if caller else new()


def new() -> str:
    """Return a random id of 32 hexadecimal digits, which is also a valid W3C trace-id."""
    return secrets.token_hex(16)


def is_trace_id(value: str) -> bool:
    """Tell whether an id is a valid W3C trace-id, which not all that clients send are."""
    return _TRACE_ID.fullmatch(value) is not None


def parse(traceparent: str | None, tracestate: str | None = None) -> Parent | None:
    """Return what a traceparent header tells, None when it is not one (W3C Trace Context, 3.2).

    Versions after 00 may carry more fields, which are ignored. A tracestate that no header may hold is dropped.
    """
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if match is None or (match["version"] == "00" and match["more"]):
        return None
    state = tracestate if tracestate and _TRACESTATE.fullmatch(tracestate) else ""
    return Parent(match["trace"], match["span"], int(match["flags"], 16), state)
