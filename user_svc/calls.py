"""Around each call of user.v1.UserService: trace id, span, log line, metrics, and the status of failures."""

import logging
import time
import traceback
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any, NamedTuple
from urllib.parse import unquote

import grpc

from protos.user.v1.contract import REFUSAL, RETRY_AFTER, THROTTLED
from service_kit.telemetry import tracing
from service_kit.telemetry.access_log import ALWAYS_LOGGED, AccessLog, peer_address
from service_kit.telemetry.context import (
    LOG_RANDOM,
    METADATA_KEY,
    NO_SPAN,
    TRACEPARENT,
    TRACESTATE,
    RequestContext,
    Span,
    extract,
)
from user_svc import metrics
from user_svc.database_errors import DatabaseUnavailableError
from user_svc.hash_queue import OverloadedError
from user_svc.throttle import ThrottledError

_LEVELS = {
    grpc.StatusCode.OK: logging.INFO,
    grpc.StatusCode.CANCELLED: logging.INFO,
    grpc.StatusCode.INTERNAL: logging.ERROR,
}
"""Of the line of a call; that of every other status is a warning."""

_POLLED = {"ListRevocations"}
"""Methods that each gateway calls once a second: logged at DEBUG, and not traced."""

_FAULTS = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL}
"""Those that the conventions call a server's errors; the others are its caller's."""

_Behavior = Callable[[Any, grpc.ServicerContext], Any]


class _Failure(NamedTuple):
    code: grpc.StatusCode
    details: str
    fields: Callable[[Any], dict[str, object]] = lambda _error: {}
    """Of the log line, made from the exception."""
    metadata: Callable[[Any], tuple[tuple[str, str], ...]] = lambda _error: ()
    """Trailing metadata of the answer, likewise."""


_FAILURES: dict[type[BaseException], _Failure] = {
    DatabaseUnavailableError: _Failure(
        grpc.StatusCode.UNAVAILABLE, "the database cannot be used", lambda error: {"cause": str(error)}
    ),
    OverloadedError: _Failure(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "too many passwords at once",
        lambda error: {"retry_after": error.retry_after},
        lambda error: ((RETRY_AFTER, str(error.retry_after)),),
    ),
    ThrottledError: _Failure(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "too many wrong passwords",
        lambda error: {"retry_after": error.retry_after, "refusal": THROTTLED},
        lambda error: ((RETRY_AFTER, str(error.retry_after)), (REFUSAL, THROTTLED)),
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

STATUSES = (grpc.StatusCode.OK, *dict.fromkeys(failure.code for failure in _FAILURES.values()))
"""Those that a call can end with."""


class CallInterceptor(grpc.ServerInterceptor):
    """Wraps the unary methods of one service; other services, such as health checks, pass untouched."""

    def __init__(self, service: str, on_unavailable: Callable[[], None], access_log_sample: float = 1.0) -> None:
        """`on_unavailable` is called when a call found the database unusable."""
        self._access_log = AccessLog("user_svc.calls", "call", access_log_sample)
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
            with self._extract(context) as request_context:
                return call_in_context(request, context, request_context)

        def call_in_context(request: Any, context: grpc.ServicerContext, request_context: RequestContext) -> Any:
            started = time.perf_counter()
            attributes = {"rpc.system.name": "grpc", "rpc.method": name}
            span = NO_SPAN if method in _POLLED else tracing.start_server_span(name, attributes)
            answer: Any = None
            code, details = grpc.StatusCode.OK, ""
            fields: dict[str, object] = {}
            try:
                answer = behavior(request, context)
                if (result := getattr(answer, "code", None)) is not None:
                    fields["result"] = result
            except Exception as error:  # noqa: BLE001  # each has its status
                failure = _failure(error)
                code, details, fields = failure.code, failure.details, failure.fields(error)
                context.set_trailing_metadata(failure.metadata(error))
                if isinstance(error, DatabaseUnavailableError):
                    self._on_unavailable()
            finally:
                duration = time.perf_counter() - started
                seconds.observe(duration)
                metrics.grpc_handled.labels(self._service, method, code.name).inc()
                fields |= {"method": method, "code": code.name, "duration": round(duration, 6)}
                is_polled = method in _POLLED and code is grpc.StatusCode.OK
                level = logging.DEBUG if is_polled else _LEVELS.get(code, logging.WARNING)
                result = fields.get("result")
                always = code.name if level > logging.INFO else result if result in ALWAYS_LOGGED else None
                if always is not None:
                    fields["peer"] = _address(context.peer())
                self._access_log.log(fields, level, always=always)
                if span.is_recording:
                    _describe(span, code, request_context.trace_id)
            if code is not grpc.StatusCode.OK:
                context.abort(code, details)
            return answer

        return call

    def _extract(self, context: grpc.ServicerContext) -> RequestContext:
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        return extract(
            metadata.get(METADATA_KEY),
            metadata.get(TRACEPARENT),
            metadata.get(TRACESTATE),
            log_random=self._access_log.draw(metadata.get(LOG_RANDOM)),
        )


def _describe(span: Span, code: grpc.StatusCode, trace_id: str) -> None:
    """Give the span the rest of a server's attributes (OpenTelemetry, semantic conventions for RPC)."""
    span.set_attributes({tracing.RPC_STATUS: code.name})
    if trace_id != span.trace_id:
        span.set_attributes({f"rpc.request.metadata.{METADATA_KEY}": (trace_id,)})
    if code in _FAULTS:
        span.set_error(code.name)


def _address(peer: str) -> str:
    """Return the address in gRPC's name of a connection's other end, such as `ipv6:%5B::1%5D:50000`."""
    address = unquote(peer.partition(":")[2]).rpartition(":")[0]
    return peer_address(address.removeprefix("[").removesuffix("]"))


def _failure(error: Exception) -> _Failure:
    return next(_FAILURES[kind] for kind in type(error).__mro__ if kind in _FAILURES)


def _place(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename}:{frame.lineno} in {frame.name}"
