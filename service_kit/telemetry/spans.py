"""Spans: what a request did where, and for how long.

There are none until `start` was called: what is here returns at once, and OpenTelemetry is not even imported.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum, auto
from typing import Protocol

from service_kit.telemetry import trace

Attributes = Mapping[str, str | int | Sequence[str]]
"""Named as in OpenTelemetry's semantic conventions. Nothing that identifies a user, and no secret, may be in one."""

RPC_STATUS = "rpc.response.status_code"

STOP_TIMEOUT = 1.0
"""Seconds that the receiver has for the last spans when the process ends."""


class Kind(Enum):
    """Whether a span's work is another process's."""

    INTERNAL = auto()
    CLIENT = auto()


class Span(Protocol):
    """A span that has begun."""

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits; empty when there is no span."""

    @property
    def trace_id(self) -> str:
        """Thirty-two hexadecimal digits; empty when there is no span."""

    @property
    def sampled(self) -> bool:
        """Whether it is recorded, and attributes are worth collecting."""

    @property
    def traceparent(self) -> str:
        """The header that tells a callee of this span."""

    @property
    def tracestate(self) -> str:
        """The header that goes with it, empty when there is nothing to tell."""

    def rename(self, name: str) -> None:
        """Give it the name that was not known when it began."""

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""

    def fail(self, error_type: str) -> None:
        """Mark it as failed, the first time; `error_type` is one of few, never from a request or an error's text."""

    def child(self, name: str, kind: Kind, attributes: Attributes) -> "Span":
        """Begin a span under this one; none when this one is not sampled."""

    def end(self) -> None:
        """End it; again does nothing."""


class Tracer(Protocol):
    """What makes spans."""

    def serve(self, name: str, caller: trace.Parent | None) -> Span:
        """Begin the span of a request, under its caller's."""

    def stop(self, timeout: float) -> None:
        """Hand over what has ended, for `timeout` seconds at most."""


class _NoSpan:
    id = trace_id = traceparent = tracestate = ""
    sampled = False

    def rename(self, name: str) -> None: ...
    def set(self, attributes: Attributes) -> None: ...
    def fail(self, error_type: str) -> None: ...
    def end(self) -> None: ...

    def child(self, name: str, kind: Kind, attributes: Attributes) -> Span:  # noqa: ARG002  # there is no trace
        return NO_SPAN


NO_SPAN: Span = _NoSpan()

current: ContextVar[Span] = ContextVar("span", default=NO_SPAN)
"""The span that this thread or task is in."""

_tracer: Tracer | None = None


def start(variables: Mapping[str, str], *, service: str, instance: str) -> None:
    """Make spans from now on and send them where the standard variables say.

    Args:
        variables: OpenTelemetry's environment variables, beside those in the environment.
        service: the service's name, unless the variables give another one.
        instance: which of the service's processes this is, unless the variables say otherwise.

    Raises:
        ValueError: with a sentence, when a variable is malformed.
    """
    global _tracer
    from service_kit.telemetry import otlp

    _tracer = otlp.Tracer(variables, service=service, instance=instance)


def stop() -> None:
    """Hand over what has ended, for STOP_TIMEOUT seconds at most."""
    if _tracer is not None:
        _tracer.stop(STOP_TIMEOUT)


def serve(name: str) -> Span:
    """Begin the span of a request under its caller's, and be in it."""
    if _tracer is None:
        return NO_SPAN
    span = _tracer.serve(name, trace.parent.get())
    current.set(span)
    return span


def begin(name: str, kind: Kind = Kind.INTERNAL, attributes: Attributes | None = None) -> Span:
    """Begin a span under the current one, without being in it."""
    return current.get().child(name, kind, attributes or {})


@contextmanager
def within(name: str, kind: Kind = Kind.INTERNAL, attributes: Attributes | None = None) -> Iterator[Span]:
    """Be in a new span under the current one. An exception that passes marks it with the exception's type."""
    span = begin(name, kind, attributes)
    if span is NO_SPAN:
        yield span
        return
    before = current.set(span)
    try:
        yield span
    except BaseException as error:
        span.fail(type(error).__qualname__)
        raise
    finally:
        current.reset(before)
        span.end()


def outgoing() -> tuple[tuple[str, str], ...]:
    """Return the gRPC metadata that tells a callee of this request's trace."""
    trace_id = (trace.METADATA_KEY, trace.current.get())
    span = current.get()
    told = span if span is not NO_SPAN else trace.parent.get()
    if told is None:
        return (trace_id,)
    traceparent = (trace.TRACEPARENT, told.traceparent)
    return (trace_id, traceparent, (trace.TRACESTATE, told.tracestate)) if told.tracestate else (trace_id, traceparent)
