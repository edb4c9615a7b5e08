"""The operations of a contract, each with all that must be known to serve it."""

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connexion.http_facts import METHODS
from connexion.operations.abstract import AbstractOperation
from connexion.resolver import Resolver
from connexion.spec import Specification

from gateway_svc.contract import parameters
from gateway_svc.contract.body import Body
from gateway_svc.contract.parameters import Parameter

Handler = Callable[..., Awaitable[Any]]
"""Takes what it names of `body`, `identity`, `client` and the operation's parameters (`X-Page-Size` as `x_page_size`).

Returns what is sent as JSON with status 200, or a tuple of that, the status and a mapping of headers, as Connexion
has it.
"""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the contract."""

    method: str
    """In capitals."""
    route: str
    """The path's template, with the base path."""
    handler: Handler
    arguments: frozenset[str]
    """Names of the handler's arguments."""
    secured: bool
    """Whether a bearer token is required."""
    parameters: Sequence[Parameter]
    body: Body | None


def compile_operations(specification: Specification, resolver: Resolver, *, body_timeout: float) -> Iterator[Operation]:
    """Compile each operation of `specification`.

    Raises:
        ValueError: when one asks for what nothing here does, or its handler for what the contract does not have.
        ResolverError: when one has no handler.
    """
    for path, item in specification["paths"].items():
        for method in METHODS & item.keys():
            operation = specification.operation_cls.from_spec(  # type: ignore[no-untyped-call]
                specification, path=path, method=method, resolver=resolver
            )
            yield _compile(operation, specification.base_path + path, body_timeout)


def _compile(operation: AbstractOperation, route: str, body_timeout: float) -> Operation:
    where = f"{operation.method.upper()} {operation.path}"
    secured = _is_secured(operation, where)
    body = _body(operation, where, body_timeout)
    signature = inspect.signature(operation.function).parameters
    declared = parameters.compile_parameters(operation.parameters, where)
    offered = {"client", *(each.argument for each in declared)}
    offered |= {"identity"} if secured else set()
    offered |= {"body"} if body else set()
    if unknown := signature.keys() - offered:
        raise ValueError(f"{where}: its handler takes {', '.join(sorted(unknown))}, which the contract does not have")
    return Operation(
        method=operation.method.upper(),
        route=route,
        handler=operation.function,
        arguments=frozenset(signature),
        secured=secured,
        parameters=tuple(each for each in declared if each.argument in signature or not each.is_free),
        body=body,
    )


def _is_secured(operation: AbstractOperation, where: str) -> bool:
    requirements: Sequence[Mapping[str, Any]] = operation.security or ()
    if not requirements:
        return False
    if len(requirements) > 1 or len(requirements[0]) != 1:
        raise ValueError(f"{where}: the gateway supports one security scheme an operation")
    [(name, scopes)] = requirements[0].items()
    scheme = operation.security_schemes.get(name, {})
    if (scheme.get("type"), scheme.get("scheme", "").lower()) != ("http", "bearer") or scopes:
        raise ValueError(f"{where}: the gateway supports security schemes of type http, bearer, without scopes")
    return True


def _body(operation: AbstractOperation, where: str, timeout: float) -> Body | None:
    if not operation.request_body:
        return None
    if operation.consumes != ["application/json"] or not operation.request_body.get("required"):
        raise ValueError(f"{where}: the gateway supports a required body of application/json, and no other")
    schema = dict(operation.body_schema("application/json"))
    # Connexion adds all components, which may refer to themselves; all references are resolved already.
    schema.pop("components", None)
    return Body(schema, f"{where}: requestBody", timeout=timeout)
