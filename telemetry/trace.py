"""Trace ids: one for each request, from the client's header to the last log line."""

import re
import secrets
from contextvars import ContextVar

HEADER = "X-Trace-ID"
METADATA_KEY = "x-trace-id"
"""gRPC metadata keys are lower case (gRPC over HTTP/2, "Custom-Metadata")."""
TRACEPARENT = "traceparent"
"""https://www.w3.org/TR/trace-context/"""

current: ContextVar[str] = ContextVar("trace_id", default="")
"""The trace id of the request that this thread or task serves; empty outside a request."""
span: ContextVar[str] = ContextVar("span_id", default="")
"""The id of the span that this thread or task is in, 16 hexadecimal digits; empty outside one."""

_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})(?P<span>[0-9a-f]{16})-[0-9a-f]{2}"
    r"(?P<more>-.*)?"
)


def accept(value: str | None, traceparent: str | None = None) -> str:
    """Return the trace id of a request.

    It is the client's own when that is 1 to 64 of `[A-Za-z0-9._-]`, otherwise that of a valid `traceparent`, otherwise
    a new one.
    """
    if value and _ACCEPTABLE.fullmatch(value):
        return value
    parent = parse_traceparent(traceparent)
    return parent[0] if parent else new()


def new() -> str:
    """Return a random id of 32 hexadecimal digits, which is also a valid W3C trace-id."""
    return secrets.token_hex(16)


def parse_traceparent(value: str | None) -> tuple[str, str] | None:
    """Return the trace-id and parent-id of a traceparent header, None when it is not one (W3C Trace Context, 3.2).

    Versions after 00 may carry more fields, which are ignored.
    """
    match = _TRACEPARENT.fullmatch(value) if value else None
    if match is None or (match["version"] == "00" and match["more"]):
        return None
    return match["trace"], match["span"]
