"""The context of a request: its trace id, the caller's span and its own.

Nothing here imports OpenTelemetry: trace ids are there with tracing off as well.
"""

import random
import re
from collections.abc import Mapping, Sequence
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from opentelemetry.trace import Span as SdkSpan

HEADER = "X-Trace-ID"
METADATA_KEY = "x-trace-id"
"""gRPC metadata keys are lower case (gRPC over HTTP/2, "Custom-Metadata")."""
TRACEPARENT = "traceparent"
"""https://www.w3.org/TR/trace-context/"""
TRACESTATE = "tracestate"
"""Vendor data of tracing systems, which is propagated with a traceparent."""
LOG_RANDOM = "x-log-random"
"""The metadata key of a request's random number for the sampling of access logs, eight hexadecimal digits."""

_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})(?P<span>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
_TRACESTATE = re.compile(r"[\x20-\x7e]{1,512}")

Attributes = Mapping[str, str | int | Sequence[str]]
"""Named as in OpenTelemetry's semantic conventions. Nothing that identifies a user, and no secret, may be in one."""


class Parent(NamedTuple):
    """The caller's span, as its headers describe it."""

    trace_id: str
    span_id: str
    flags: int
    """The lowest bit says that the caller records its span."""
    tracestate: str = ""

    @property
    def traceparent(self) -> str:
        """The header for a callee, in version 00: whatever a later version adds is text that a client chose."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"


class Span:
    """A span of the SDK, or none: then it is not recorded, and every method does nothing."""

    __slots__ = ("_failed", "sdk")

    def __init__(self, sdk: "SdkSpan | None" = None) -> None:
        self.sdk = sdk
        self._failed = False

    @property
    def is_recording(self) -> bool:
        """Whether attributes are worth collecting."""
        return self.sdk is not None and self.sdk.is_recording()

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits; empty when the span is not sampled."""
        if self.sdk is None or not (context := self.sdk.get_span_context()).trace_flags.sampled:
            return ""
        return f"{context.span_id:016x}"

    @property
    def trace_id(self) -> str:
        """Thirty-two hexadecimal digits; empty when there is no span."""
        return "" if self.sdk is None else f"{self.sdk.get_span_context().trace_id:032x}"

    def set_attributes(self, attributes: Attributes) -> None:
        """Add attributes."""
        if self.sdk is not None and self.sdk.is_recording():
            self.sdk.set_attributes(attributes)

    def set_error(self, error_type: str) -> None:
        """Mark the span as failed, the first time; `error_type` is one of few, never text of a request or an error."""
        if self.sdk is not None and self.sdk.is_recording() and not self._failed:
            from opentelemetry.trace import StatusCode

            self._failed = True
            self.sdk.set_status(StatusCode.ERROR)
            self.sdk.set_attribute("error.type", error_type)

    def end(self) -> None:
        """End the span; a second call does nothing."""
        if self.sdk is not None and self.sdk.is_recording():
            self.sdk.end()


NO_SPAN = Span()


class RequestContext:
    """Context of a request for all layers of a service.

    As a context manager it is the current one of this task or thread, and ends its span on exit.
    """

    __slots__ = ("_token", "log_random", "parent", "span", "trace_id")

    def __init__(
        self, trace_id: str, parent: Parent | None = None, log_random: int | None = None, span: Span = NO_SPAN
    ) -> None:
        self.trace_id = trace_id
        self.parent = parent
        self.log_random = log_random
        """Below 2**32; decides in every service whether the access log has a line of this request."""
        self.span = span
        self._token: Token[RequestContext] | None = None

    def __enter__(self) -> Self:
        self._token = current.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.span.end()
        if self._token is not None:
            current.reset(self._token)


_NO_REQUEST = RequestContext("")
current: ContextVar[RequestContext] = ContextVar("request", default=_NO_REQUEST)
"""The context of the request that this thread or task serves; its trace id is empty outside a request."""


def extract(
    trace_id: str | None, traceparent: str | None, tracestate: str | None = None, *, log_random: int | None = None
) -> RequestContext:
    """Return the context of a request from the headers, or the gRPC metadata, that it came with."""
    parent = _parent(traceparent, tracestate) if traceparent else None
    return RequestContext(resolve_trace_id(trace_id, parent), parent, log_random)


def resolve_trace_id(value: str | None, parent: Parent | None = None) -> str:
    """Return the trace id of a request.

    It is the client's own when that is 1 to 64 of `[A-Za-z0-9._-]`, otherwise that of the caller's span, otherwise a
    new one of 32 hexadecimal digits, which is also a valid W3C trace-id.
    """
    if value and _ACCEPTABLE.fullmatch(value):
        return value
    return parent.trace_id if parent else f"{random.getrandbits(128):032x}"  # an id, no secret


def is_trace_id(value: str) -> bool:
    """Return whether an id is a valid W3C trace-id; clients may send others."""
    return _TRACE_ID.fullmatch(value) is not None


def _parent(traceparent: str, tracestate: str | None) -> Parent | None:
    """Parse a traceparent header; None when it is malformed (W3C Trace Context, 3.2).

    Versions after 00 may carry more fields, which are ignored. A tracestate that no header may hold is dropped.
    """
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None or (match["version"] == "00" and match["more"]):
        return None
    state = tracestate if tracestate and _TRACESTATE.fullmatch(tracestate) else ""
    return Parent(match["trace"], match["span"], int(match["flags"], 16), state)
