"""What is recorded of each request: its trace id and span, the metrics and the line of the access log."""

import logging
import time
from collections.abc import Mapping, Sequence

from starlette.types import Scope

from gateway_svc import metrics
from gateway_svc.contract import Operation
from service_kit.telemetry import spans, trace
from service_kit.telemetry.logs import AccessLog

CLIENT_CLOSED_REQUEST = 499
"""The status that is counted and logged when the client hangs up first; nginx's number, as there is no standard one."""

_KNOWN_METHODS = {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}


class Observer:
    """Records requests."""

    def __init__(self, access_log_sample: float) -> None:
        self._access_log = AccessLog("gateway_svc.access", access_log_sample)

    def begin(
        self, scope: Scope, headers: Mapping[bytes, bytes], route: str | None, operation: Operation | None
    ) -> "Observed":
        """Take or make the trace id of a request, and begin its span."""
        return Observed(self._access_log, scope, headers, route, operation)


class Observed:
    """One request, from when its headers were read until it was answered."""

    __slots__ = ("_access_log", "_began", "_method", "_route", "_scope", "_span", "trace_id")

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
        self._method = operation and scope["method"]
        caller = _caller(headers)
        trace.parent.set(caller)
        self.trace_id = trace.accept(headers.get(b"x-trace-id", b"").decode("latin-1"), caller)
        trace.current.set(self.trace_id)
        self._span = spans.serve(scope["method"])
        metrics.requests.in_flight += 1

    def end(self, status: int) -> None:
        """Record that the request was answered."""
        metrics.requests.in_flight -= 1
        seconds = time.perf_counter() - self._began
        method, route = self._method or metrics.OTHER, self._route or metrics.UNMATCHED
        metrics.requests.end(method, route, status, seconds)
        fields = {"method": method, "route": route, "code": status, "duration": round(seconds, 6)}
        self._access_log.log("request", fields, _level(status))
        if self._span.sampled:
            self._describe(status)
        self._span.end()

    def _describe(self, status: int) -> None:
        """Name the span and give it the attributes of a server's (OpenTelemetry, semantic conventions for HTTP spans).

        What a client may choose freely is left out: a path that no route matched, a method that is none, addresses,
        agents.
        """
        span, scope = self._span, self._scope
        method = scope["method"] if scope["method"] in _KNOWN_METHODS else "_OTHER"
        name = "HTTP" if method == "_OTHER" else method
        attributes: dict[str, str | int | Sequence[str]] = {
            "http.request.method": method,
            "http.response.status_code": status,
            "url.scheme": scope["scheme"],
        }
        if self._route is not None:
            name = f"{name} {self._route}"
            attributes["http.route"] = self._route
            if scope["path"] == self._route:
                attributes["url.path"] = self._route
        if self.trace_id != span.trace_id:
            attributes["http.response.header.x-trace-id"] = (self.trace_id,)
        span.rename(name)
        span.set(attributes)
        if status >= 500:
            span.fail(str(status))


def _caller(headers: Mapping[bytes, bytes]) -> trace.Parent | None:
    traceparent = headers.get(b"traceparent")
    if traceparent is None:
        return None
    return trace.parse(traceparent.decode("latin-1"), headers.get(b"tracestate", b"").decode("latin-1"))


def _level(status: int) -> int:
    if status < 500:
        return logging.INFO
    return logging.ERROR if status == 500 else logging.WARNING
