"""OpenTelemetry's SDK behind `tracing`. Importing it takes half a second, so only `tracing.start` does.

A thread of the SDK's takes ended spans from a queue of bounded length to an exporter. When the queue is full, spans are
lost, and requests are not delayed.
"""

import logging
import os
import ssl
import threading
from collections.abc import Mapping, Sequence
from enum import Enum
from http import HTTPStatus
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.resources import (
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    SERVICE_VERSION,
    OTELResourceDetector,
    Resource,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import SpanKind, TraceFlags, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service_kit.telemetry.context import (
    NO_SPAN,
    TRACEPARENT,
    TRACESTATE,
    Attributes,
    Parent,
    RequestContext,
    Span,
    current,
    is_trace_id,
)
from service_kit.telemetry.metrics import VERSION

_ROOT = Context()
_CLOSING = 0.2
"""Seconds for an export that was cut short to notice."""

logger = logging.getLogger(__name__)


class Tracer:
    """Makes the SDK's spans, and sends those that are sampled."""

    def __init__(self, variables: Mapping[str, str], *, service: str, instance: str) -> None:
        """Read OpenTelemetry's variables and start the thread that sends; connects to nothing.

        Raises:
            ValueError: when a variable is malformed.
        """
        os.environ.update(variables)  # the one place that the SDK and its exporters read
        for name in [name for name, value in os.environ.items() if name.startswith("OTEL_") and not value]:
            del os.environ[name]  # to the specification, empty is not set; to some of the SDK it is malformed
        own = Resource({SERVICE_NAME: service, SERVICE_VERSION: VERSION, SERVICE_INSTANCE_ID: instance})
        resource = Resource.create().merge(own).merge(OTELResourceDetector().detect())
        complaints = _Complaints()
        self._exporter = _Exporter(_exporter(complaints), complaints)
        self._provider = TracerProvider(resource=resource, id_generator=_IdGenerator(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("video-platform", VERSION)
        self._propagator = TraceContextTextMapPropagator()
        self._callers_decide, self._sampled_below = _sampling()

    def start_server_span(self, request: RequestContext, name: str, attributes: Attributes | None) -> Span:
        """Start the span of the current request under its caller's, if it is sampled."""
        if self._is_sampled(request) is False:
            return NO_SPAN
        return Span(self._tracer.start_span(name, self._context(request.parent), SpanKind.SERVER, attributes))

    def start_span(self, parent: Span, name: str, kind: str, attributes: Attributes | None) -> Span:
        """Start a span under `parent`; `kind` is the name of a SpanKind."""
        context = _ROOT if parent.sdk is None else set_span_in_context(parent.sdk, _ROOT)
        return Span(self._tracer.start_span(name, context, SpanKind[kind], attributes))

    def inject(self, request: RequestContext) -> dict[str, str]:
        """Return the headers that tell a callee of the request's span, or that it is not sampled."""
        carrier: dict[str, str] = {}
        if request.span.sdk is not None:
            self._propagator.inject(carrier, set_span_in_context(request.span.sdk, _ROOT))
            return carrier
        parent = request.parent
        trace_id = parent.trace_id if parent else request.trace_id
        if is_trace_id(trace_id):
            flags = parent.flags & TraceFlags.RANDOM_TRACE_ID if parent else 0
            carrier[TRACEPARENT] = f"00-{trace_id}-{self._provider.id_generator.generate_span_id():016x}-{flags:02x}"
            if parent and parent.tracestate:
                carrier[TRACESTATE] = parent.tracestate
        return carrier

    def stop(self, timeout: float) -> None:
        """Send the remaining spans for at most `timeout` seconds, then abort the export."""
        closing = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        closing.start()
        closing.join(timeout)
        if closing.is_alive():
            logger.warning("the last spans were not sent: the receiver did not take them in time")
            self._exporter.shutdown()
            closing.join(_CLOSING)

    def _is_sampled(self, request: RequestContext) -> bool | None:
        """Return the SDK's sampling decision; None when it depends on a trace id that the SDK will generate."""
        parent = request.parent
        if parent is not None and self._callers_decide:
            return parent.flags & TraceFlags.SAMPLED != 0
        if parent is None and not is_trace_id(request.trace_id):
            return None
        return (parent.trace_id if parent else request.trace_id)[16:] < self._sampled_below

    def _context(self, parent: Parent | None) -> Context:
        if parent is None:
            return _ROOT
        return self._propagator.extract({TRACEPARENT: parent.traceparent, TRACESTATE: parent.tracestate}, _ROOT)


class _IdGenerator(RandomIdGenerator):
    """Gives a trace the id of its request, where that can be one."""

    def generate_trace_id(self) -> int:
        request = current.get()
        return int(request.trace_id, 16) if is_trace_id(request.trace_id) else super().generate_trace_id()

    def is_trace_id_random(self) -> bool:
        return False  # clients may choose it


def _sampling() -> tuple[bool, str]:
    """Return whether a caller's decision counts, and below which last 16 digits of a trace id a trace is sampled.

    The SDK's sampler decides the same, but to ask it takes as long as all else that is done for a request that is not
    sampled.
    """
    name = os.environ.get("OTEL_TRACES_SAMPLER", "parentbased_always_on").strip().lower()
    root = name.removeprefix("parentbased_")
    rate = {"always_on": 1.0, "always_off": 0.0}.get(root)
    bound = TraceIdRatioBased.get_bound_for_rate(
        float(os.environ.get("OTEL_TRACES_SAMPLER_ARG", "1")) if rate is None else rate
    )
    above_all = "g"
    return root != name, f"{bound:016x}" if bound <= TraceIdRatioBased.TRACE_ID_LIMIT else above_all


def _exporter(complaints: "_Complaints") -> SpanExporter:
    if _either("PROTOCOL") == "grpc":
        from grpc import Compression
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

        # the variables' "none" is none of the values that this exporter reads
        return GrpcExporter(
            compression=Compression.Gzip if _either("COMPRESSION") == "gzip" else Compression.NoCompression
        )
    return _http_exporter(complaints)


def _http_exporter(complaints: "_Complaints") -> SpanExporter:
    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):
        """Notes why a request fails; the exporter does not always say."""

        def send(self, *args: Any, **kwargs: Any) -> requests.Response:
            try:
                response = super().send(*args, **kwargs)
            except requests.RequestException as error:
                complaints.cause = _innermost(error)
                complaints.error = error
                raise
            complaints.cause = f"{response.status_code} {_PHRASES.get(response.status_code, '')}".strip()
            return response

    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, Adapter())
    return HttpExporter(session=session)


def _either(name: str) -> str:
    """Return OTEL_EXPORTER_OTLP_`name`, that for traces first."""
    general = os.environ.get(f"OTEL_EXPORTER_OTLP_{name}", "")
    return os.environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}", general).strip().lower()


class _Exporter(SpanExporter):
    """An exporter that logs why spans cannot be sent, each cause once until they can be again."""

    def __init__(self, exporter: SpanExporter, complaints: "_Complaints") -> None:
        self._exporter = exporter
        self._complaints = complaints
        self._causes: set[str] = set()
        self._closed = False

    def export(self, batch: Sequence[ReadableSpan]) -> SpanExportResult:
        self._complaints.cause = ""
        try:
            result = self._exporter.export(batch)
        except Exception as error:  # noqa: BLE001  # whatever it is, the next batch is tried as well
            result, self._complaints.cause = SpanExportResult.FAILURE, _innermost(error)
        self._complaints.let_go()
        if self._closed:
            return result
        if result is SpanExportResult.SUCCESS:
            if self._causes:
                logger.info("spans are sent again")
                self._complaints.forget()
            self._causes.clear()
        else:
            # The exporter for gRPC says nothing when it said the same a moment ago.
            cause = self._complaints.cause or ("" if self._causes else "unknown")
            if cause and cause not in self._causes:
                logger.warning("OTEL_EXPORTER_OTLP_ENDPOINT: spans cannot be sent and are lost", extra={"cause": cause})
                self._causes.add(cause)
        return result

    def shutdown(self) -> None:
        if not self._closed:
            self._closed = True
            self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class _Complaints(logging.Handler):
    """Receives OpenTelemetry's log records of each batch, which contain addresses, headers and the receiver's messages.

    What the exporters say becomes the `cause` of a failed export; all else is logged once, without what was filled in.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.cause = ""
        self.error: BaseException | None = None
        """What the cause was read from."""
        self._said: set[str] = set()
        source = logging.getLogger("opentelemetry")
        source.handlers[:] = [self]
        source.propagate = False
        source.setLevel(logging.WARNING)
        logging.getLogger("urllib3").setLevel(logging.WARNING)  # below, it shows the endpoint for each batch

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("opentelemetry.exporter"):
            codes = [part.name for part in record.args or () if isinstance(part, Enum)]  # one grpc.StatusCode, or none
            self.cause = codes[0] if codes else self.cause
        elif (said := str(record.msg)) not in self._said:
            self._said.add(said)
            logger.warning("OpenTelemetry: %s", said)

    def let_go(self) -> None:
        """Drop the error's frames, which refer to the batch, and back to it: only a full collection would free them."""
        while self.error is not None:
            self.error.__traceback__ = None
            self.error = self.error.__cause__ or self.error.__context__

    def forget(self) -> None:
        """Log once more what was logged."""
        self._said.clear()


_PHRASES = {status.value: status.phrase for status in HTTPStatus}


def _innermost(error: BaseException) -> str:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    if isinstance(error, ssl.SSLError):
        return error.reason or type(error).__name__  # a name of OpenSSL's; its errno is not the system's
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return type(error).__name__
