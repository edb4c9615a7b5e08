"""The outermost layer: trace id, in-flight count, errors, security headers, metrics and the access log.

One layer of plain ASGI instead of five middlewares, each of which would wrap every message again.
"""

import logging
import time
import traceback
from collections.abc import Awaitable

from connexion.middleware.abstract import ROUTING_CONTEXT
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway_svc import metrics, problems
from gateway_svc.fastpath import CONTEXT
from gateway_svc.health import Health
from gateway_svc.problems import ClientGoneError, Problem
from telemetry import trace

CLIENT_CLOSED_REQUEST = 499
"""The status that is counted and logged when the client hangs up first; nginx's number, as there is no standard one."""

access_log = logging.getLogger("gateway_svc.access")
logger = logging.getLogger(__name__)

_CLOSE = (b"connection", b"close")
_FIXED_HEADERS = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]


class Edge:
    """Wraps the whole application."""

    def __init__(self, app: ASGIApp, *, health: Health) -> None:
        self._app = app
        self._health = health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request to its end, whatever happens inside."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        headers = dict(scope["headers"])
        traceparent = headers.get(b"traceparent", b"").decode("latin-1")
        trace_id = trace.accept(headers.get(b"x-trace-id", b"").decode("latin-1"), traceparent)
        trace.current.set(trace_id)
        extensions = scope["extensions"] = {CONTEXT: {"traceparent": traceparent}}
        metrics.in_flight.inc()
        status = 0

        def answer(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                sent = message["headers"]
                sent.append((b"x-trace-id", trace_id.encode()))
                sent.extend(_FIXED_HEADERS)
                if self._health.draining:
                    sent.append(_CLOSE)
            return send(message)

        try:
            await self._app(scope, receive, answer)
        except ClientGoneError:
            status = CLIENT_CLOSED_REQUEST
        except Exception as error:  # noqa: BLE001  # the last layer: whatever is not answered here, nobody answers
            if status:
                _log_failure(error)  # the answer has begun; the server cuts the connection
            else:
                await _send_problem(_problem_of(error), headers.get(b"accept", b""), _route(extensions)[1], answer)
        finally:
            metrics.in_flight.dec()
            seconds = time.perf_counter() - began
            operation, route = _route(extensions)
            method = scope["method"] if operation else metrics.OTHER
            metrics.request_ended(method, route, status, seconds)
            access_log.info(
                "request", extra={"method": method, "route": route, "status": status, "duration": round(seconds, 6)}
            )


def _route(extensions: dict[str, dict[str, str]]) -> tuple[bool, str]:
    """Return whether an operation matched, and the route's template."""
    operation = extensions.get(ROUTING_CONTEXT)
    if operation is not None:
        return True, operation["route"]
    return False, str(extensions.get("route", metrics.UNMATCHED))


def _problem_of(error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        if error.status_code == 404:
            return problems.not_found()
        if error.status_code == 405:
            return problems.method_not_allowed((error.headers or {}).get("Allow", "GET, HEAD"))
    _log_failure(error)
    return problems.internal_error()


def _log_failure(error: Exception) -> None:
    # Its message is left out: it may quote what a client sent.
    frames = "".join(traceback.format_tb(error.__traceback__))
    logger.error("a request failed", extra={"error": type(error).__qualname__, "frames": frames})


async def _send_problem(problem: Problem, accept: bytes, route: str, send: Send) -> None:
    path = "" if route == metrics.UNMATCHED else route
    content_type, body = problem.render(accept, f"{path}#{trace.current.get()}")
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *problem.headers]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
