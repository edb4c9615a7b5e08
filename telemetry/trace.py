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

_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


def accept(value: str | None) -> str:
    """Return the client's trace id when it is 1 to 64 of `[A-Za-z0-9._-]`, otherwise a new one."""
    return value if value and _ACCEPTABLE.match(value) else new()


def new() -> str:
    """Return a random id of 32 hexadecimal digits, which is also a valid W3C trace-id."""
    return secrets.token_hex(16)
