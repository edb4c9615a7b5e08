"""OpenTelemetry's SDK under the spans of this project. Importing it takes half a second, so only `spans.start` does.

What has ended is the SDK's: a thread of its own takes it from a queue of bounded length to an exporter. When the queue
is full, spans are lost, and requests are not delayed. Until it ends a span is ours: one of the SDK's, which must suit
everyone, takes a third of what this gateway needs to answer a request.
"""

import logging
import os
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from enum import Enum
from http import HTTPStatus
from typing import Any

from opentelemetry.sdk.resources import (
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    SERVICE_VERSION,
    OTELResourceDetector,
    Resource,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

from service_kit.telemetry import spans, trace
from service_kit.telemetry.metrics import VERSION

_SCOPE = InstrumentationScope("video-platform", VERSION)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_OK, _FAILED = Status(StatusCode.UNSET), Status(StatusCode.ERROR)
_KINDS = {kind: SpanKind[kind.name] for kind in spans.Kind}
_CLOSING = 0.2
"""Seconds for an export that was cut short to notice."""

_ids = RandomIdGenerator()

logger = logging.getLogger(__name__)


class Span:
    """A span that is recorded, and handed to the SDK when it ends."""

    __slots__ = (
        "_attributes",
        "_ended",
        "_kind",
        "_name",
        "_parent",
        "_started",
        "_status",
        "_tracer",
        "id",
        "trace_id",
    )

    sampled = True

    def __init__(
        self,
        tracer: "Tracer",
        name: str,
        kind: SpanKind,
        trace_id: str,
        parent: "Span | trace.Parent | None",
        attributes: spans.Attributes,
    ) -> None:
        self._tracer = tracer
        self._name = name
        self._kind = kind
        self.trace_id = trace_id
        self._parent = parent
        self._attributes = dict(attributes)
        self._status = _OK
        self._ended = False
        self.id = f"{_ids.generate_span_id():016x}"
        self._started = time.time_ns()

    @property
    def traceparent(self) -> str:
        """The header that tells a callee of this span (W3C Trace Context, 3.2)."""
        return f"00-{self.trace_id}-{self.id}-01"

    @property
    def tracestate(self) -> str:
        """The header that goes with it, as the caller's came."""
        return self._parent.tracestate if self._parent else ""

    def rename(self, name: str) -> None:
        """Give it another name."""
        self._name = name

    def set(self, attributes: spans.Attributes) -> None:
        """Add attributes."""
        self._attributes.update(attributes)

    def fail(self, error_type: str) -> None:
        """Mark it as failed, the first time."""
        if self._status is _OK:
            self._status = _FAILED
            self._attributes["error.type"] = error_type

    def child(self, name: str, kind: spans.Kind, attributes: spans.Attributes) -> "Span":
        """Begin a span under this one."""
        return Span(self._tracer, name, _KINDS[kind], self.trace_id, self, attributes)

    def end(self) -> None:
        """End it."""
        if not self._ended:
            self._ended = True
            self._tracer.finish(self._readable(time.time_ns()))

    def _readable(self, ended: int) -> ReadableSpan:
        trace_id = int(self.trace_id, 16)
        state = TraceState.from_header([self.tracestate]) if self.tracestate else None
        parent = None
        if isinstance(self._parent, trace.Parent):
            flags = TraceFlags(self._parent.flags)
            parent = SpanContext(trace_id, int(self._parent.span_id, 16), is_remote=True, trace_flags=flags)
        elif self._parent:
            parent = SpanContext(trace_id, int(self._parent.id, 16), is_remote=False, trace_flags=_SAMPLED)
        return ReadableSpan(
            self._name,
            SpanContext(trace_id, int(self.id, 16), is_remote=False, trace_flags=_SAMPLED, trace_state=state),
            parent,
            self._tracer.resource,
            self._attributes,
            kind=self._kind,
            status=self._status,
            start_time=self._started,
            end_time=ended,
            instrumentation_scope=_SCOPE,
        )


class _Unsampled:
    """The span of a request that is not recorded."""

    __slots__ = ("trace_id", "tracestate")

    id = ""
    sampled = False

    def __init__(self, trace_id: str, tracestate: str) -> None:
        self.trace_id = trace_id
        self.tracestate = tracestate

    @property
    def traceparent(self) -> str:
        """The header that tells a callee to record nothing either."""
        return f"00-{self.trace_id}-{_ids.generate_span_id():016x}-00"

    def rename(self, name: str) -> None: ...
    def set(self, attributes: spans.Attributes) -> None: ...
    def fail(self, error_type: str) -> None: ...
    def end(self) -> None: ...

    def child(self, name: str, kind: spans.Kind, attributes: spans.Attributes) -> spans.Span:  # noqa: ARG002
        """Return no span: of a trace that is not recorded, nothing is."""
        return spans.NO_SPAN


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
        own = Resource({SERVICE_NAME: service, SERVICE_VERSION: VERSION, SERVICE_INSTANCE_ID: instance})
        self.resource = Resource.create().merge(own).merge(OTELResourceDetector().detect())
        """What is said of the process beside each span."""
        self._callers_decide, self._sampled_below = _sampling()
        complaints = _Complaints()
        self._exporter = _Exporter(_exporter(complaints), complaints)
        self._processor = BatchSpanProcessor(self._exporter)
        self.finish = self._processor.on_end
        """Takes a span that has ended."""

    def serve(self, name: str, caller: trace.Parent | None) -> spans.Span:
        """Begin the span of a request, if it is sampled. Without a caller its trace id is that of the request."""
        if caller is None:
            trace_id = trace.current.get()
            if not trace.is_trace_id(trace_id):
                trace_id = f"{_ids.generate_trace_id():032x}"
        else:
            trace_id = caller.trace_id
        if caller is not None and self._callers_decide:
            sampled = caller.flags & TraceFlags.SAMPLED != 0
        else:
            sampled = trace_id[16:] < self._sampled_below
        if sampled:
            return Span(self, name, SpanKind.SERVER, trace_id, caller, {})
        return _Unsampled(trace_id, caller.tracestate if caller else "")

    def stop(self, timeout: float) -> None:
        """Send what is left for `timeout` seconds, then cut the export short."""
        closing = threading.Thread(target=self._processor.shutdown, name="last spans", daemon=True)
        closing.start()
        closing.join(timeout)
        if closing.is_alive():
            logger.warning("the last spans were not sent: the receiver did not take them in time")
            self._exporter.shutdown()
            closing.join(_CLOSING)


def _sampling() -> tuple[bool, str]:
    """Return whether a caller's decision counts, and below which last 16 digits of a trace id a trace is sampled.

    This is what the specification's samplers come to. To ask the SDK's takes as long as all else that is done for a
    request that is not sampled.
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
    if isinstance(error, ssl.SSLError):
        return error.reason or type(error).__name__  # a name of OpenSSL's; its errno is not the system's
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return type(error).__name__
