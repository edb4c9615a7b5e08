"""What surrounds a call of user.v1.UserService: trace id, span, log line, metrics, and the status of what failed."""

import logging
import time
import traceback
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any, NamedTuple

import grpc

from service_kit.telemetry import spans, trace
from service_kit.telemetry.logs import AccessLog
from user_svc import metrics
from user_svc.database import DatabaseUnavailableError
from user_svc.hash_queue import OverloadedError

RETRY_AFTER = "retry-after"
"""The trailing metadata that says in how many seconds a refused call may be tried again."""

_LEVELS = {
    grpc.StatusCode.OK: logging.INFO,
    grpc.StatusCode.CANCELLED: logging.INFO,
    grpc.StatusCode.INTERNAL: logging.ERROR,
}
"""Of the line of a call; that of every other status is a warning."""

_FAULTS = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL}
"""Those that the conventions call a server's errors; the others are its caller's."""

_Behavior = Callable[[Any, grpc.ServicerContext], Any]


class _Failure(NamedTuple):
    code: grpc.StatusCode
    details: str
    fields: Callable[[Any], dict[str, object]] = lambda _error: {}
    """Of the log line, made from the exception."""


_FAILURES: dict[type[BaseException], _Failure] = {
    DatabaseUnavailableError: _Failure(
        grpc.StatusCode.UNAVAILABLE, "the database cannot be used", lambda error: {"cause": str(error)}
    ),
    OverloadedError: _Failure(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "too many passwords at once",
        lambda error: {"retry_after": error.retry_after},
    ),
    TimeoutError: _Failure(grpc.StatusCode.DEADLINE_EXCEEDED, "the call's deadline passed"),
    CancelledError: _Failure(grpc.StatusCode.CANCELLED, "the client cancelled the call"),
    # without the error's text, which may hold what the client sent
    Exception: _Failure(
        grpc.StatusCode.INTERNAL,
        "internal error",
        lambda error: {"cause": type(error).__name__, "at": _place(error)},
    ),
}
"""By type of exception; the nearest base class counts."""

STATUSES = (grpc.StatusCode.OK, *(failure.code for failure in _FAILURES.values()))
"""Those that a call can end with."""


class CallInterceptor(grpc.ServerInterceptor):
    """Wraps the unary methods of one service; other services, such as health checks, pass untouched."""

    def __init__(self, service: str, on_unavailable: Callable[[], None], access_log_sample: float = 1.0) -> None:
        """`on_unavailable` is called when a call found the database unusable."""
        self._access_log = AccessLog("user_svc.calls", access_log_sample)
        self._service = service
        self._prefix = f"/{service}/"
        self._on_unavailable = on_unavailable

    def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handler of a call to the service."""
        handler = continuation(handler_call_details)
        name: str = handler_call_details.method
        if handler is None or handler.unary_unary is None or not name.startswith(self._prefix):
            return handler
        return grpc.unary_unary_rpc_method_handler(
            self._wrap(name.removeprefix(self._prefix), handler.unary_unary),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _wrap(self, method: str, behavior: _Behavior) -> _Behavior:
        name = f"{self._service}/{method}"
        seconds = metrics.grpc_seconds.labels(self._service, method)

        def call(request: Any, context: grpc.ServicerContext) -> Any:
            started = time.perf_counter()
            metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
            caller = trace.parse(metadata.get(trace.TRACEPARENT), metadata.get(trace.TRACESTATE))
            trace_id = trace.accept(metadata.get(trace.METADATA_KEY), caller)
            in_trace = trace.current.set(trace_id), trace.parent.set(caller), spans.current.set(spans.NO_SPAN)
            span = spans.serve(name)
            answer: Any = None
            code, details = grpc.StatusCode.OK, ""
            fields: dict[str, object] = {}
            try:
                answer = behavior(request, context)
                fields["result"] = answer.code
            except Exception as error:  # noqa: BLE001  # each has its status
                code, details, describe = _failure(error)
                fields = describe(error)
                if isinstance(error, DatabaseUnavailableError):
                    self._on_unavailable()
                elif isinstance(error, OverloadedError):
                    context.set_trailing_metadata(((RETRY_AFTER, str(error.retry_after)),))
            finally:
                duration = time.perf_counter() - started
                seconds.observe(duration)
                metrics.grpc_handled.labels(self._service, method, code.name).inc()
                fields |= {"method": method, "code": code.name, "duration": round(duration, 6)}
                self._access_log.log("call", fields, _LEVELS.get(code, logging.WARNING))
                if span.sampled:
                    _describe(span, name, code, trace_id)
                span.end()
                spans.current.reset(in_trace[2])
                trace.parent.reset(in_trace[1])
                trace.current.reset(in_trace[0])
            if code is not grpc.StatusCode.OK:
                context.abort(code, details)
            return answer

        return call


def _describe(span: spans.Span, name: str, code: grpc.StatusCode, trace_id: str) -> None:
    """Give the span the attributes of a server's (OpenTelemetry, semantic conventions for RPC)."""
    span.set({"rpc.system.name": "grpc", "rpc.method": name, spans.RPC_STATUS: code.name})
    if trace_id != span.trace_id:
        span.set({f"rpc.request.metadata.{trace.METADATA_KEY}": (trace_id,)})
    if code in _FAULTS:
        span.fail(code.name)


def _failure(error: Exception) -> _Failure:
    return next(_FAILURES[kind] for kind in type(error).__mro__ if kind in _FAILURES)


def _place(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename}:{frame.lineno} in {frame.name}"
