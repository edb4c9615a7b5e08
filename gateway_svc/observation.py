"""Records of each request: trace id, span, metrics and access log line."""

import logging
import time
from collections.abc import Mapping
from functools import lru_cache
from types import TracebackType
from typing import Self

from starlette.types import Scope

from gateway_svc import metrics
from gateway_svc.contract import Operation
from service_kit.telemetry import context, tracing
from service_kit.telemetry.access_log import ALWAYS_LOGGED, AccessLog, peer_address

CLIENT_CLOSED_REQUEST = 499
"""The status that is counted and logged when the client hangs up first; nginx's number, as there is no standard one."""

_KNOWN_METHODS = {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}


class Observed:
    """One request, from when its headers were read until it was answered; a context manager."""

    __slots__ = ("_access_log", "_began", "_context", "_method", "_route", "_scope", "status")

    def __init__(
        self,
        access_log: AccessLog,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        route: str | None,
        operation: Operation | None,
    ) -> None:
        self._began = time.perf_counter()
        self._access_log = access_log
        self._scope = scope
        self._route = route
        self._method = scope["method"] if operation else metrics.OTHER
        self._context = context.extract(
            _text(headers.get(b"x-trace-id")),
            _text(headers.get(b"traceparent")),
            _text(headers.get(b"tracestate")),
            log_random=access_log.draw(),
        )
        self.status = CLIENT_CLOSED_REQUEST

    @property
    def trace_id(self) -> str:
        """Value of X-Trace-ID in the response."""
        return self._context.trace_id

    def __enter__(self) -> Self:
        self._context.__enter__()
        if tracing.is_on():
            scope, route = self._scope, self._route
            tracing.start_server_span(*_span_of(scope["method"], scope["scheme"], route, scope["path"] == route))
        metrics.requests.in_flight += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        metrics.requests.in_flight -= 1
        status, route = self.status, self._route or metrics.UNMATCHED
        seconds = time.perf_counter() - self._began
        metrics.requests.end(self._method, route, status, seconds)
        fields = {"method": self._method, "route": route, "code": status, "duration": round(seconds, 6)}
        if status >= 500 or status in ALWAYS_LOGGED:
            client = self._scope.get("client")  # optional in ASGI
            fields["peer"] = peer_address(client[0]) if client else ""
            self._access_log.log(fields, _level(status), always=status)
        else:
            self._access_log.log(fields)
        span = self._context.span
        if span.is_recording:
            span.set_attributes({"http.response.status_code": status})
            if self.trace_id != span.trace_id:
                span.set_attributes({"http.response.header.x-trace-id": (self.trace_id,)})
            if status >= 500:
                span.set_error(str(status))
        self._context.__exit__(kind, error, tb)


@lru_cache(maxsize=256)
def _span_of(method: str, scheme: str, route: str | None, is_path: bool) -> tuple[str, context.Attributes]:
    """Return a server span's name and attributes (OpenTelemetry, semantic conventions for HTTP spans).

    What a client may choose freely is left out: a path that no route matched, a method that is none, addresses, agents.
    """
    known = method in _KNOWN_METHODS
    attributes = {"http.request.method": method if known else "_OTHER", "url.scheme": scheme}
    name = method if known else "HTTP"
    if route is not None:
        name = f"{name} {route}"
        attributes["http.route"] = route
        if is_path:
            attributes["url.path"] = route
    return name, attributes


def _text(value: bytes | None) -> str | None:
    return value.decode("latin-1") if value else None


def _level(status: int) -> int:
    if status < 500:
        return logging.INFO
    return logging.ERROR if status == 500 else logging.WARNING
