"""The ASGI application: openapi/openapi.yaml and its handlers in Connexion, served by one middleware."""

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

from connexion.apps.asynchronous import AsyncApp
from connexion.resolver import Resolver

from gateway_svc import problems
from gateway_svc.authentication import Authentication
from gateway_svc.handlers import Handlers
from gateway_svc.health import Health
from gateway_svc.middleware import Authenticate, ContractMiddleware, FindClient
from gateway_svc.throttling import ClientAddresses
from gateway_svc.tokens import AccessTokens
from gateway_svc.users_client import (
    UsersBusyError,
    UsersFailedError,
    UsersOutdatedError,
    UsersThrottledError,
    UsersUnavailableError,
)
from service_kit.telemetry.access_log import AccessLog

CONTRACT = Path(__file__).resolve().parent.parent / "openapi" / "openapi.yaml"

ROLLOUT_RETRY = 5
"""Seconds after which another instance may be new enough for the call."""

ERRORS = {
    UsersOutdatedError: lambda _: problems.unavailable(retry_after=ROLLOUT_RETRY),
    UsersUnavailableError: lambda _: problems.unavailable(),
    UsersBusyError: lambda error: problems.busy(error.retry_after),
    UsersThrottledError: lambda error: problems.throttled(error.retry_after),
    UsersFailedError: lambda _: problems.internal_error(),
}
"""The responses for exceptions of handlers."""


_ALL_ALIKE = ClientAddresses(None).of


def build(
    handlers: Handlers,
    tokens: AccessTokens,
    health: Health,
    *,
    find_client: FindClient,
    body_timeout: float,
    access_log: AccessLog,
    docs: bool,
    cors_origins: Collection[str],
) -> AsyncApp:
    """Return the gateway's application; it depends on no server.

    Raises:
        ValueError: when the contract asks for what the gateway does not do.
    """
    return serve(
        CONTRACT,
        handlers,
        authenticate=Authentication(tokens).identify,
        find_client=find_client,
        health=health,
        body_timeout=body_timeout,
        access_log=access_log,
        docs=docs,
        cors_origins=cors_origins,
    )


def serve(
    contract: Path | dict[str, Any],
    handlers: object,
    *,
    authenticate: Authenticate,
    find_client: FindClient = _ALL_ALIKE,
    health: Health,
    body_timeout: float,
    access_log: AccessLog,
    docs: bool = True,
    cors_origins: Collection[str] = (),
) -> AsyncApp:
    """Return an application that serves `contract` by the methods of `handlers`, named as its operationIds.

    Raises:
        ValueError: when the contract asks for what the gateway does not do.
        ResolverError: when an operation has no handler.
    """
    middleware = ContractMiddleware(
        authenticate=authenticate,
        find_client=find_client,
        errors=ERRORS,
        access_log=access_log,
        is_draining=lambda: health.draining,
        body_timeout=body_timeout,
        docs=docs,
        cors_origins=cors_origins,
    )
    app = AsyncApp("gateway_svc", middlewares=[middleware.around], resolver=Resolver(partial(getattr, handlers)))
    app.add_api(contract)
    # Connexion does this at the first event that it gets, where an error has no caller.
    for api in app.middleware.apis:
        middleware.add_api(api.specification, **api.kwargs)
    return app
