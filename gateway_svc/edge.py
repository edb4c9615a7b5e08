"""The outermost layer: trace id, span, in-flight count, errors, security headers, metrics and the access log.

One layer of plain ASGI instead of five middlewares, each of which would wrap every message again.
"""

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from connexion.http_facts import METHODS
from connexion.middleware.abstract import ROUTING_CONTEXT, SpecMiddleware
from connexion.spec import Specification
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway_svc import metrics, problems
from gateway_svc.fastpath import CONTEXT, ROUTE
from gateway_svc.health import Health
from gateway_svc.problems import ClientGoneError, Problem
from service_kit.telemetry import spans, trace
from service_kit.telemetry.logs import AccessLog

CLIENT_CLOSED_REQUEST = 499
"""The status that is counted and logged when the client hangs up first; nginx's number, as there is no standard one."""

logger = logging.getLogger(__name__)

_KNOWN_METHODS = {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
_CLOSE = (b"connection", b"close")
_HEADERS = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]


class Edge(SpecMiddleware):
    """Wraps the whole application."""

    def __init__(self, app: ASGIApp, *, health: Health, access_log_sample: float) -> None:
        self._app = app
        self._health = health
        self._access_log = AccessLog("gateway_svc.access", access_log_sample)

    def add_api(self, specification: Specification, *_: Any, **__: Any) -> None:
        """Make the series of the operations of `specification` exist."""
        for path, item in specification["paths"].items():
            for method in METHODS & item.keys():
                metrics.requests.declare(method.upper(), specification.base_path + path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request to its end, whatever happens inside."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        headers = dict(scope["headers"])
        caller = _caller(headers)
        trace.parent.set(caller)
        trace_id = trace.accept(headers.get(b"x-trace-id", b"").decode("latin-1"), caller)
        trace.current.set(trace_id)
        span = spans.serve(scope["method"])
        extensions = scope["extensions"] = {CONTEXT: {}}
        metrics.requests.in_flight += 1
        status = 0

        def answer(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                sent = message["headers"]
                sent.append((b"x-trace-id", trace_id.encode()))
                sent.extend(_HEADERS)
                if self._health.draining:
                    sent.append(_CLOSE)
            return send(message)

        try:
            await self._app(scope, receive, answer)
        except ClientGoneError:
            status = CLIENT_CLOSED_REQUEST
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # what is not answered here, nobody answers
            problem = _problem_of(error)
            if not status:  # otherwise the answer has begun, and the server cuts the connection
                await _send(problem, headers.get(b"accept", b""), f"{extensions.get(ROUTE, '')}#{trace_id}", answer)
        finally:
            metrics.requests.in_flight -= 1
            seconds = time.perf_counter() - began
            route = str(extensions.get(ROUTE, metrics.UNMATCHED))
            method = scope["method"] if ROUTING_CONTEXT in extensions else metrics.OTHER
            metrics.requests.end(method, route, status, seconds)
            fields = {"method": method, "route": route, "code": status, "duration": round(seconds, 6)}
            self._access_log.log("request", fields, _level(status))
            if span.sampled:
                _describe(span, scope, status, trace_id)
            span.end()


def _caller(headers: Mapping[bytes, bytes]) -> trace.Parent | None:
    traceparent = headers.get(b"traceparent")
    if traceparent is None:
        return None
    return trace.parse(traceparent.decode("latin-1"), headers.get(b"tracestate", b"").decode("latin-1"))


def _level(status: int) -> int:
    if status < 500:
        return logging.INFO
    return logging.ERROR if status == 500 else logging.WARNING


def _describe(span: spans.Span, scope: Scope, status: int, trace_id: str) -> None:
    """Name the span and give it the attributes of a server's (OpenTelemetry, semantic conventions for HTTP spans).

    What a client may choose freely is left out: a path that no route matched, a method that is none, addresses, agents.
    """
    method = scope["method"] if scope["method"] in _KNOWN_METHODS else "_OTHER"
    name = "HTTP" if method == "_OTHER" else method
    attributes: dict[str, str | int | Sequence[str]] = {
        "http.request.method": method,
        "http.response.status_code": status,
        "url.scheme": scope["scheme"],
    }
    route = scope["extensions"].get(ROUTE)
    if route is not None:
        name = f"{name} {route}"
        attributes["http.route"] = route
        if scope["path"] == route:
            attributes["url.path"] = route
    if trace_id != span.trace_id:
        attributes["http.response.header.x-trace-id"] = (trace_id,)
    span.rename(name)
    span.set(attributes)
    if status >= 500:
        span.fail(str(status))


def _problem_of(error: BaseException) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, asyncio.CancelledError):  # the process stops, and the time for requests in flight is over
        return problems.unavailable()
    # Its message is left out: it may quote what a client sent.
    frames = "".join(traceback.format_tb(error.__traceback__))
    logger.error("a request failed", extra={"error": type(error).__qualname__, "frames": frames})
    return problems.internal_error()


async def _send(problem: Problem, accept: bytes, instance: str, send: Send) -> None:
    content_type, body = problem.render(accept, instance)
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *problem.headers]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
