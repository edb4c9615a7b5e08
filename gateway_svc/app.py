"""The ASGI application: openapi/openapi.yaml with its handlers, behind the layers of this package."""

from functools import partial
from pathlib import Path

from connexion.resolver import Resolver
from starlette.types import ASGIApp, Message

from gateway_svc import fastpath
from gateway_svc.docs import Docs
from gateway_svc.edge import Edge
from gateway_svc.handlers import Handlers
from gateway_svc.health import Health

CONTRACT = Path(__file__).resolve().parent.parent / "openapi" / "openapi.yaml"


async def build(handlers: Handlers, health: Health, *, body_timeout: float, access_log_sample: float) -> fastpath.App:
    """Return the application, loaded; it depends on no server.

    Raises:
        ValueError: when the contract asks for what the application cannot do.
    """
    app = fastpath.App(
        "gateway_svc",
        middlewares=[
            partial(Edge, health=health, access_log_sample=access_log_sample),
            Docs,
            fastpath.Routing,
            fastpath.Security,
            fastpath.Validation,
        ],
        resolver=Resolver(partial(getattr, handlers)),
        security_map={"bearer": partial(fastpath.BearerHandler, handlers.authenticate)},
    )
    app.add_api(CONTRACT, body_timeout=body_timeout)
    await _load(app)
    return app


async def _load(app: ASGIApp) -> None:
    """Have Connexion build its layers now, which it does at the first event it gets, and not for the first client."""
    events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Message:
        return next(events)

    async def send(_: Message) -> None:
        pass

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
