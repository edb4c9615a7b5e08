"""The way of a request: find its operation, authenticate, validate, handle, answer."""

import asyncio
import contextlib
import logging
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from mmap import mmap
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson
from connexion.middleware.abstract import SpecMiddleware
from connexion.spec import Specification
from starlette.datastructures import Headers as RequestHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway_svc import metrics, problems
from gateway_svc.contract import Match, Operation, Routes, compile_operations
from gateway_svc.contract.parameters import fields_of
from gateway_svc.docs import Documents
from gateway_svc.http_server import hang_up
from gateway_svc.observation import Observed
from gateway_svc.problems import JSON, ClientGoneError, Headers, Problem
from service_kit.telemetry.access_log import AccessLog

Authenticate = Callable[[Sequence[tuple[bytes, bytes]]], object]
"""From the headers of a request to the `identity` that handlers take; raises Problem."""
FindClient = Callable[[Scope], str | None]
"""From a request to the `client` that handlers take, None when clients are not told apart."""

_CLOSE = (b"connection", b"close")
_NO_SNIFF = (b"x-content-type-options", b"nosniff")
_NO_STORE = (b"cache-control", b"no-store")
_CORS_METHODS = ("DELETE", "GET", "POST", "PUT")
_CORS_HEADERS = ("Authorization", "Content-Type", "X-Trace-ID", "traceparent", "tracestate")
_CORS_EXPOSED = ("Retry-After", "X-Trace-ID")

logger = logging.getLogger(__name__)


class Answer(NamedTuple):
    """A response."""

    status: int
    content_type: bytes | None
    body: bytes | mmap
    headers: Headers = ()


class ContractMiddleware(SpecMiddleware):
    """Serves the operations of each contract that is added, and answers all else itself."""

    def __init__(
        self,
        *,
        authenticate: Authenticate,
        find_client: FindClient,
        errors: Mapping[type[Exception], Callable[[Any], Problem]],
        access_log: AccessLog,
        is_draining: Callable[[], bool],
        body_timeout: float,
        docs: bool,
        cors_origins: Collection[str] = (),
    ) -> None:
        """Prepare to serve.

        Args:
            authenticate: called for operations that the contract secures.
            find_client: called for operations whose handlers name `client`.
            errors: the answers for exceptions of handlers.
            access_log: gets a line for each request.
            is_draining: whether clients should open no further requests on their connections.
            body_timeout: seconds that the body of a request may take to arrive.
            docs: whether the contracts themselves are served.
            cors_origins: whose pages may read answers; with none, no answer has a header about that.
        """
        self._authenticate = authenticate
        self._find_client = find_client
        self._errors = errors
        self._access_log = access_log
        self._is_draining = is_draining
        self._body_timeout = body_timeout
        self._routes = Routes()
        self._documents = Documents(served=docs)
        self._specifications: list[Specification] = []
        self._next: ASGIApp
        self._cors_origins = cors_origins
        self._cors: CORSMiddleware | None = None

    def around(self, app: ASGIApp) -> "ContractMiddleware":
        """Wrap `app`, as a middleware of Connexion; it receives what is not HTTP."""
        self._next = app
        if self._cors_origins:
            # Its rules are asked from inside, so that preflights, too, have a trace id and are logged and counted.
            self._cors = CORSMiddleware(
                app,
                allow_origins=self._cors_origins,
                allow_methods=_CORS_METHODS,
                allow_headers=_CORS_HEADERS,
                expose_headers=_CORS_EXPOSED,
            )
        return self

    def add_api(self, specification: Specification, **options: Any) -> None:
        """Compile the operations of `specification`; a second call does nothing.

        Raises:
            ValueError: when the contract asks for what the gateway does not do.
            ResolverError: when an operation has no handler.
        """
        if any(each is specification for each in self._specifications):
            return
        self._specifications.append(specification)
        operations = list(compile_operations(specification, options["resolver"], body_timeout=self._body_timeout))
        self._routes.add(operations)
        self._documents.add(specification)
        for operation in operations:
            metrics.requests.declare(operation.method, operation.route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request to its end, whatever happens in a handler."""
        if scope["type"] != "http":
            await self._next(scope, receive, send)
            return
        headers = dict(scope["headers"])
        match = self._routes.find(scope)
        operation = match.route.operations.get(scope["method"]) if match else None
        route = match.route.template if match else self._documents.route(scope["path"])
        with Observed(self._access_log, scope, headers, route, operation) as observed:
            try:
                if match is not None and operation is not None:
                    answer = await self._serve(operation, match, scope, headers, receive)
                else:
                    answer = self._answer_without_operation(match, scope)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # the last layer: must always answer
                if isinstance(error, ClientGoneError) or hang_up.happened():
                    return
                problem = self._problem_of(error)
                content_type, body = problem.render(
                    headers.get(b"accept", b""), f"{quote(route or '')}#{observed.trace_id}"
                )
                answer = Answer(problem.status, content_type, body, problem.headers)
            observed.status = answer.status
            with contextlib.suppress(asyncio.CancelledError):  # the client reads no further, or the process stops
                await self._send(answer, observed.trace_id, scope, send)

    async def _serve(
        self, operation: Operation, match: Match, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive
    ) -> Answer:
        arguments: dict[str, object] = {}
        if operation.secured:
            arguments["identity"] = self._authenticate(scope["headers"])
        if operation.parameters:
            arguments |= _values_of(operation, match, scope)
        if operation.body is not None:
            arguments["body"] = await operation.body.read(headers, receive)
        if "client" in operation.arguments:
            arguments["client"] = self._find_client(scope)
        if len(arguments) > len(operation.arguments):
            arguments = {name: arguments[name] for name in operation.arguments}
        result = await operation.handler(**arguments)
        if isinstance(result, tuple):
            body, status, own = result
            sent = [(name.lower().encode(), value.encode("latin-1")) for name, value in own.items()]
            return Answer(status, JSON, orjson.dumps(body), sent)
        return Answer(200, JSON, orjson.dumps(result))

    def _answer_without_operation(self, match: Match | None, scope: Scope) -> Answer:
        if self._cors is not None and scope["method"] == "OPTIONS":
            headers = RequestHeaders(scope=scope)
            if "origin" in headers and "access-control-request-method" in headers:
                preflight = self._cors.preflight_response(headers)
                own = [field for field in preflight.raw_headers if field[0].startswith(b"access-control-")]
                return Answer(preflight.status_code, b"text/plain; charset=utf-8", bytes(preflight.body), own)
        if match is None:
            document = self._documents.find(scope)
            if document is None:
                raise problems.not_found()
            return Answer(*document)
        if scope["method"] != "OPTIONS":
            raise problems.method_not_allowed(match.route.allow)
        return Answer(204, None, b"", [(b"allow", match.route.allow.encode())])

    def _problem_of(self, error: BaseException) -> Problem:
        if isinstance(error, Problem):
            return error
        if isinstance(error, asyncio.CancelledError):  # the process stops, and the time for requests in flight is over
            return problems.unavailable()
        for kind, problem in self._errors.items():
            if isinstance(error, kind):
                return problem(error)
        # Its message is left out: it may quote what a client sent.
        frames = "".join(traceback.format_tb(error.__traceback__))
        logger.error("a request failed", extra={"error": type(error).__qualname__, "frames": frames})
        return problems.internal_error()

    async def _send(self, answer: Answer, trace_id: str, scope: Scope, send: Send) -> None:
        status, content_type, body, own = answer
        headers = [*own, (b"x-trace-id", trace_id.encode()), _NO_SNIFF]
        if not any(name == b"cache-control" for name, _ in own):
            headers.append(_NO_STORE)
        if content_type:
            headers[:0] = (b"content-type", content_type), (b"content-length", b"%d" % len(body))
        if self._is_draining():
            headers.append(_CLOSE)
        start = {"type": "http.response.start", "status": status, "headers": headers}
        if self._cors is None:
            await send(start)
        else:
            await self._cors.send(start, send, RequestHeaders(scope=scope))
        await send({"type": "http.response.body", "body": body})


def _values_of(operation: Operation, match: Match, scope: Scope) -> dict[str, object]:
    query = fields_of(scope["query_string"])
    values = {}
    for parameter in operation.parameters:
        match parameter.place:
            case "path":
                fields = [match.values[parameter.name]]
            case "query":
                fields = query.get(parameter.name, [])
            case _:
                name = parameter.name.lower().encode()
                fields = [value for each, value in scope["headers"] if each == name]
        values[parameter.argument] = parameter.value_of(fields)
    return values
