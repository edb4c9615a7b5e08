"""OpenTelemetry's SDK under the spans of this project. Importing it takes half a second, so only `spans.start` does.

Spans are sent by the SDK's own thread from a queue of bounded length. When that is full, spans are lost, and requests
are not delayed.
"""

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
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
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags, set_span_in_context
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace.span import TraceState

from telemetry import spans, trace
from telemetry.metrics import VERSION

_NOBODY = Context()
_KINDS = {kind: SpanKind[kind.name] for kind in spans.Kind}
_CLOSING = 0.2
"""Seconds for an export that was cut short to notice."""

logger = logging.getLogger(__name__)


class Span:
    """A span of the SDK, without its ways of recording what an exception says."""

    __slots__ = ("_context", "_ended", "_failed", "_span", "sampled")

    def __init__(self, span: OtelSpan) -> None:
        self._span = span
        self._context = span.get_span_context()
        self._ended = self._failed = False
        self.sampled = self._context.trace_flags.sampled

    @property
    def id(self) -> str:
        """Sixteen hexadecimal digits."""
        return f"{self._context.span_id:016x}"

    def as_parent(self) -> Context:
        """Return what the SDK begins a child under."""
        return set_span_in_context(self._span, _NOBODY)

    @property
    def traceparent(self) -> str:
        """The header that tells a callee of this span (W3C Trace Context, 3.2)."""
        return f"00-{self._context.trace_id:032x}-{self._context.span_id:016x}-{self._context.trace_flags:02x}"

    @property
    def tracestate(self) -> str:
        """The header that goes with it."""
        return self._context.trace_state.to_header()

    def rename(self, name: str) -> None:
        """Give it another name."""
        self._span.update_name(name)

    def set(self, attributes: spans.Attributes) -> None:
        """Add attributes."""
        self._span.set_attributes(attributes)

    def fail(self, error_type: str) -> None:
        """Mark it as failed, the first time."""
        if not self._ended and not self._failed:
            self._failed = True
            self._span.set_attribute("error.type", error_type)
            self._span.set_status(StatusCode.ERROR)

    def end(self) -> None:
        """End it."""
        if not self._ended:
            self._ended = True
            self._span.end()


class _Unsampled:
    """The span of a request that is not recorded: what is needed of the SDK's own, at a third of the cost."""

    __slots__ = ("_trace_id",)

    id = tracestate = ""
    sampled = False

    def __init__(self, trace_id: int) -> None:
        self._trace_id = trace_id

    @property
    def traceparent(self) -> str:
        """The header that tells a callee to record nothing either."""
        return f"00-{self._trace_id:032x}-{_random.generate_span_id():016x}-00"

    def rename(self, name: str) -> None: ...
    def set(self, attributes: spans.Attributes) -> None: ...
    def fail(self, error_type: str) -> None: ...
    def end(self) -> None: ...


class Tracer:
    """Makes spans, and sends those that are sampled."""

    def __init__(self, variables: Mapping[str, str], *, service: str, instance: str) -> None:
        """Read OpenTelemetry's variables and start the thread that sends; connects to nothing.

        Raises:
            ValueError: with a sentence, when a variable is malformed.
        """
        os.environ.update(variables)  # the one place that the SDK and its exporters read
        for name in [name for name, value in os.environ.items() if name.startswith("OTEL_") and not value]:
            del os.environ[name]  # to the specification, empty is not set; to some of the SDK it is malformed
        complaints = _Complaints()
        self._exporter = _Exporter(_exporter(complaints), complaints)
        own = Resource({SERVICE_NAME: service, SERVICE_VERSION: VERSION, SERVICE_INSTANCE_ID: instance})
        self._provider = TracerProvider(
            resource=Resource.create().merge(own).merge(OTELResourceDetector().detect()),
            id_generator=_Ids(),
            shutdown_on_exit=False,  # it would wait for as long as an export takes
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._sampler = self._provider.sampler
        self._tracer = self._provider.get_tracer("video-platform", VERSION)

    def begin(
        self, name: str, kind: spans.Kind, parent: spans.Span | trace.Parent | None, attributes: spans.Attributes
    ) -> spans.Span:
        """Begin a span; without a parent its trace id is that of the request."""
        if isinstance(parent, Span):
            context = parent.as_parent()
        else:
            context = _remote(parent) if isinstance(parent, trace.Parent) else _NOBODY
            trace_id = int(parent.trace_id, 16) if isinstance(parent, trace.Parent) else _new_trace_id()
            decision = self._sampler.should_sample(context, trace_id, name, _KINDS[kind], attributes).decision
            if decision is not Decision.RECORD_AND_SAMPLE:
                return _Unsampled(trace_id)
            _trace_id.set(trace_id)
        return Span(self._tracer.start_span(name, context, _KINDS[kind], attributes))

    def stop(self, timeout: float) -> None:
        """Send what is left for `timeout` seconds, then cut the export short."""
        closing = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        closing.start()
        closing.join(timeout)
        if closing.is_alive():
            logger.warning("the last spans were not sent: the receiver did not take them in time")
            self._exporter.shutdown()
            closing.join(_CLOSING)


_trace_id: ContextVar[int] = ContextVar("otlp_trace_id")
"""The id that the sampler has seen, for the SDK to take."""


class _Ids(RandomIdGenerator):
    """Gives a trace its id when a span without a parent begins."""

    def generate_trace_id(self) -> int:
        return _trace_id.get()

    def is_trace_id_random(self) -> bool:
        return False  # it may be a client's


def _new_trace_id() -> int:
    """Return the id that logs and the answer carry if a trace can have it, otherwise a random one."""
    known = trace.current.get()
    return int(known, 16) if trace.is_trace_id(known) else _random.generate_trace_id()


_random = RandomIdGenerator()


def _remote(parent: trace.Parent) -> Context:
    context = SpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(parent.flags),
        trace_state=TraceState.from_header([parent.tracestate]) if parent.tracestate else None,
    )
    return set_span_in_context(NonRecordingSpan(context), _NOBODY)


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
    """An exporter that logs each change of why spans cannot be sent, and nothing more often."""

    def __init__(self, exporter: SpanExporter, complaints: "_Complaints") -> None:
        self._exporter = exporter
        self._complaints = complaints
        self._cause = ""
        self._closed = False

    def export(self, batch: Sequence[ReadableSpan]) -> SpanExportResult:
        self._complaints.cause = ""
        try:
            result = self._exporter.export(batch)
        except Exception as error:  # noqa: BLE001  # whatever it is, the next batch is tried as well
            result, self._complaints.cause = SpanExportResult.FAILURE, _innermost(error)
        if self._closed:
            return result
        if result is SpanExportResult.SUCCESS:
            if self._cause:
                logger.info("spans are sent again")
                self._complaints.forget()
            self._cause = ""
        else:
            # The exporter for gRPC says nothing when it said the same a moment ago.
            cause = self._complaints.cause or self._cause or "unknown"
            if cause != self._cause:
                logger.warning("OTEL_EXPORTER_OTLP_ENDPOINT: spans cannot be sent and are lost", extra={"cause": cause})
            self._cause = cause
        return result

    def shutdown(self) -> None:
        if not self._closed:
            self._closed = True
            self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class _Complaints(logging.Handler):
    """Hears what OpenTelemetry would log for each batch, addresses, headers and the receiver's words included.

    What the exporters say becomes the `cause` of a failed export; all else is logged once, without what was filled in.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.cause = ""
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

    def forget(self) -> None:
        """Log once more what was logged."""
        self._said.clear()


_PHRASES = {status.value: status.phrase for status in HTTPStatus}


def _innermost(error: BaseException) -> str:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return type(error).__name__
