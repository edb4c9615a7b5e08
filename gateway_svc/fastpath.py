"""Connexion's middlewares without what they would do again for every request.

Everything here subclasses one of Connexion's extension points, and all rules are still read from openapi.yaml. What
stock Connexion works out for each request (the handler's decorators, its arguments, a validator for each schema, a
request object for each layer) is worked out once, when the contract is loaded. A contract that asks for more than
these classes do, such as path parameters, is refused then, never half obeyed.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import orjson
from connexion.apps.abstract import AbstractApp
from connexion.apps.asynchronous import AsyncApi, AsyncASGIApp, AsyncOperation
from connexion.http_facts import METHODS
from connexion.middleware.abstract import ROUTING_CONTEXT
from connexion.middleware.request_validation import (
    RequestValidationAPI,
    RequestValidationMiddleware,
    RequestValidationOperation,
)
from connexion.middleware.routing import RoutingMiddleware
from connexion.middleware.security import SecurityAPI, SecurityMiddleware
from connexion.middleware.security import SecurityOperation as ConnexionSecurityOperation
from connexion.operations.abstract import AbstractOperation
from connexion.security import AbstractSecurityHandler
from connexion.spec import Specification
from connexion.utils import inspect_function_arguments
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway_svc import problems
from gateway_svc.validation import BodyValidator

CONTEXT = "connexion_context"
"""Where Connexion keeps what one layer tells the next about a request, in the scope's extensions."""
ROUTE = "route"
"""Where the path's template is told to the outer layers, in the scope's extensions; absent when no path matched."""

Handler = Callable[..., Awaitable[Mapping[str, object]]]
Verify = Callable[[list[tuple[bytes, bytes]]], dict[str, Any]]


class Routing(RoutingMiddleware):
    """Finds the operation by two look-ups, since the contract's paths are fixed strings.

    HEAD is answered as GET, OPTIONS with `Allow` (RFC 9110, sections 9.3.2 and 9.3.7).
    """

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app)
        self._routes: dict[str, dict[str, dict[str, str]]] = {}

    def add_api(self, specification: Specification, *_: Any, **options: Any) -> None:
        """Add the operations of `specification`.

        Raises:
            ValueError: when a path has parameters.
            ResolverError: when an operation has no handler.
        """
        base_path = specification.base_path
        for path, item in specification["paths"].items():
            if "{" in path:
                raise ValueError(f"{path}: paths with parameters need Connexion's own RoutingMiddleware")
            routes = {}
            for method in METHODS & item.keys():
                operation = specification.operation_cls.from_spec(  # type: ignore[no-untyped-call]
                    specification, path=path, method=method, resolver=options["resolver"]
                )
                routes[method.upper()] = {"api_base_path": base_path, "operation_id": operation.operation_id}
            if "GET" in routes:
                routes.setdefault("HEAD", routes["GET"])
            self._routes[base_path + path] = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Name the operation in the scope, or answer that there is none."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        routes = self._routes.get(scope["path"])
        if routes is None:
            raise problems.not_found()
        scope["extensions"][ROUTE] = scope["path"]
        operation = routes.get(scope["method"])
        if operation is not None:
            scope["extensions"][ROUTING_CONTEXT] = operation
            await self.app(scope, receive, send)
            return
        allow = ", ".join(sorted({*routes, "OPTIONS"}))
        if scope["method"] != "OPTIONS":
            raise problems.method_not_allowed(allow)
        await send({"type": "http.response.start", "status": 204, "headers": [(b"allow", allow.encode())]})
        await send({"type": "http.response.body"})


class SecurityOperation(ConnexionSecurityOperation):
    """Hands security handlers the headers and the context of a request, and not a request object of their own."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on when one of the operation's security requirements is met."""
        if self.security:
            await self.verification_fn(_Credentials(scope["headers"], scope["extensions"][CONTEXT]))
        await self.next_app(scope, receive, send)


class _Credentials(NamedTuple):
    headers: list[tuple[bytes, bytes]]
    context: dict[str, Any]


class _SecurityApi(SecurityAPI):
    def make_operation(self, operation: AbstractOperation | Specification) -> ConnexionSecurityOperation:
        return SecurityOperation.from_operation(
            operation, next_app=self.next_app, security_handler_factory=self.security_handler_factory
        )


class Security(SecurityMiddleware):
    """Connexion's security, which reads from the contract who has to show what."""

    api_cls = _SecurityApi


class BearerHandler(AbstractSecurityHandler):
    """Hands a request's headers to a function that returns Connexion's `token_info` or raises."""

    def __init__(self, verify: Verify) -> None:
        self._verify = verify

    def get_fn(self, security_scheme: dict[str, Any], required_scopes: list[str]) -> Any:  # noqa: ARG002
        """Return what Connexion calls for each request to a secured operation."""
        return self._check

    def _check(self, credentials: _Credentials) -> dict[str, Any]:
        return self._verify(credentials.headers)


class Operation(AsyncOperation):
    """Calls the handler with the arguments it names, and encodes what it returns with orjson.

    Arguments come from Connexion's context of the request: `body`, `receive`, `token_info` and whatever else was put
    there. Stock Connexion builds three decorators around the handler for each request instead.
    """

    def __init__(self, fn: Handler, *args: Any, **kwargs: Any) -> None:
        super().__init__(fn, *args, **kwargs)
        self._arguments, _ = inspect_function_arguments(fn)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        """Answer the request; Connexion expects nothing to be returned either."""
        context = scope["extensions"][CONTEXT]
        context["receive"] = receive
        body = orjson.dumps(await self._fn(**{name: context[name] for name in self._arguments}))
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class _Api(AsyncApi):
    def make_operation(self, operation: AbstractOperation) -> AsyncOperation:
        return Operation.from_operation(operation, pythonic_params=self.pythonic_params, jsonifier=self.jsonifier)


class _Endpoints(AsyncASGIApp):
    api_cls = _Api


class ValidationOperation(RequestValidationOperation):
    """Validates the body with a validator that was compiled once, and puts it into the context, parsed."""

    def __init__(self, next_app: ASGIApp, *, operation: AbstractOperation, body_timeout: float) -> None:
        super().__init__(next_app, operation=operation)
        _refuse_unsupported(operation)
        self._body: BodyValidator | None = None
        if operation.request_body:
            schema = dict(operation.body_schema("application/json"))
            schema.pop("components", None)  # Connexion's addition; it refers to itself, and all $refs are resolved
            self._body = BodyValidator(schema, timeout=body_timeout)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on when it keeps the contract."""
        if self._body is not None:
            scope["extensions"][CONTEXT]["body"] = await self._body.read(dict(scope["headers"]), receive)
        await self.next_app(scope, receive, send)


class _ValidationApi(RequestValidationAPI):
    def __init__(self, *args: Any, body_timeout: float, **kwargs: Any) -> None:
        self._body_timeout = body_timeout
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]

    def make_operation(self, operation: AbstractOperation) -> ValidationOperation:
        return ValidationOperation(self.next_app, operation=operation, body_timeout=self._body_timeout)


class Validation(RequestValidationMiddleware):
    """Connexion's validation of requests, for contracts whose rules are about JSON bodies."""

    api_cls: type[RequestValidationAPI] = _ValidationApi


class App(AbstractApp):
    """Connexion's AsyncApp around these operations."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._middleware_app = _Endpoints()
        super().__init__(*args, **kwargs)

    def add_url_rule(self, *args: Any, **kwargs: Any) -> None:
        """Refused: the contract is the only source of routes."""
        raise NotImplementedError

    add_error_handler = add_url_rule


def _refuse_unsupported(operation: AbstractOperation) -> None:
    """Raise ValueError when the contract has rules on a request that nothing here would check."""
    where = f"{operation.method.upper()} {operation.path}"
    for parameter in operation.parameters:
        if parameter["in"] != "header" or parameter.get("required") or parameter["schema"] != {"type": "string"}:
            raise ValueError(f"{where}: the parameter {parameter['name']} has rules that nothing checks")
    if operation.request_body and (
        operation.consumes != ["application/json"] or not operation.request_body.get("required")
    ):
        raise ValueError(f"{where}: only a required body of application/json is supported")
