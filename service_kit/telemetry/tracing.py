"""Spans: what a request did, where, and for how long.

There are none until `start` was called: what is here returns at once, and OpenTelemetry is not even imported.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum, auto
from typing import TYPE_CHECKING

from service_kit.telemetry.context import (
    LOG_RANDOM,
    METADATA_KEY,
    NO_SPAN,
    TRACEPARENT,
    TRACESTATE,
    Attributes,
    RequestContext,
    Span,
    current,
)

if TYPE_CHECKING:
    from service_kit.telemetry.otlp import Tracer

RPC_STATUS = "rpc.response.status_code"

STOP_TIMEOUT = 1.0
"""Seconds that the receiver has for the last spans when the process ends."""


class Kind(Enum):
    """Whether the work of a span is done by another process."""

    INTERNAL = auto()
    CLIENT = auto()


_tracer: "Tracer | None" = None


def start(variables: Mapping[str, str], *, service: str, instance: str) -> None:
    """Make spans from now on and send them where the standard variables say.

    Args:
        variables: OpenTelemetry's environment variables, beside those in the environment.
        service: the service's name, unless the variables give another one.
        instance: which of the service's processes this is, unless the variables say otherwise.

    Raises:
        ValueError: when a variable is malformed.
    """
    global _tracer
    from service_kit.telemetry import otlp

    _tracer = otlp.Tracer(variables, service=service, instance=instance)


def stop() -> None:
    """Send the spans that have ended, for STOP_TIMEOUT seconds at most."""
    if _tracer is not None:
        _tracer.stop(STOP_TIMEOUT)


def is_on() -> bool:
    """Return whether spans may be made at all."""
    return _tracer is not None


def start_server_span(name: str, attributes: Attributes | None = None) -> Span:
    """Start the span of the current request, if it is sampled; the request's context ends it."""
    if _tracer is None:
        return NO_SPAN
    request = current.get()
    request.span = _tracer.start_server_span(request, name, attributes)
    return request.span


def start_span(name: str, kind: Kind = Kind.INTERNAL, attributes: Attributes | None = None) -> Span:
    """Start a span under the current one, without making it the current one; the caller ends it."""
    parent = current.get().span
    if _tracer is None or not parent.is_recording:
        return NO_SPAN
    return _tracer.start_span(parent, name, kind.name, attributes)


@contextmanager
def start_as_current_span(
    name: str, kind: Kind = Kind.INTERNAL, attributes: Attributes | None = None
) -> Iterator[Span]:
    """Make a new span under the current one the current one. An exception that passes is its `error.type`."""
    span = start_span(name, kind, attributes)
    if span is NO_SPAN:
        yield span
        return
    request = current.get()
    with RequestContext(request.trace_id, request.parent, request.log_random, span):
        try:
            yield span
        except BaseException as error:
            span.set_error(type(error).__qualname__)
            raise


def inject() -> tuple[tuple[str, str], ...]:
    """Return the gRPC metadata that makes the callee's request part of the current one."""
    request = current.get()
    metadata = [(METADATA_KEY, request.trace_id)]
    if request.log_random is not None:
        metadata.append((LOG_RANDOM, f"{request.log_random:08x}"))
    if _tracer is not None:
        metadata.extend(_tracer.inject(request).items())
    elif request.parent is not None:
        metadata.append((TRACEPARENT, request.parent.traceparent))
        if request.parent.tracestate:
            metadata.append((TRACESTATE, request.parent.tracestate))
    return tuple(metadata)
