"""Starts the gateway, drains it on SIGTERM or SIGINT and stops it."""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

import uvicorn
import uvloop

from gateway_svc import app
from gateway_svc.config import GatewaySettings
from gateway_svc.handlers import Handlers
from gateway_svc.health import Health
from gateway_svc.tokens import Tokens
from gateway_svc.users_client import UsersClient, target_of
from registry import EtcdConfig, Resolver, Snapshot
from settings import load_or_exit
from telemetry import logs
from telemetry import metrics as conventions
from telemetry.admin import AdminServer

logger = logging.getLogger("gateway_svc")

T = TypeVar("T")


def main() -> None:
    """Run the gateway until it is told to stop."""
    settings = load_or_exit(GatewaySettings)
    logs.configure("gateway", level=settings.log_level, style=settings.log_format)
    conventions.start()
    health = Health()
    listener = _bind("LISTEN_PORT", settings.listen_port, lambda: _listener(settings.listen_host, settings.listen_port))
    admin = _bind(
        "ADMIN_PORT",
        settings.admin_port,
        lambda: AdminServer(settings.admin_host, settings.admin_port, livez=health.livez, readyz=health.readyz),
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, health, listener, admin))


async def _serve(settings: GatewaySettings, health: Health, listener: socket.socket, admin: AdminServer) -> None:
    loop = asyncio.get_running_loop()
    stop = _Stop(loop)
    beat = asyncio.create_task(health.beat())
    admin.start()
    users = UsersClient(on_ready=health.users_found)
    handlers = Handlers(users, _tokens(settings))
    server = _Server(
        uvicorn.Config(
            app.build(handlers, health, body_timeout=settings.body_timeout),
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="on",  # Connexion loads the contract at the first event it gets
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=settings.grace,
        )
    )
    resolver = _find_users(settings, users, health, loop)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(stop.requested.wait())
    port = listener.getsockname()[1]
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    if not server.started:
        await serving
    logger.info("listening", extra={"port": port, "admin_port": admin.port})
    await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)

    health.draining = True
    logger.info("draining", extra={"drain_delay": settings.drain_delay, "grace": settings.grace})
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.at_once.wait(), settings.drain_delay)
    server.should_exit = True
    at_once = asyncio.create_task(stop.at_once.wait())
    await asyncio.wait((serving, at_once), return_when=asyncio.FIRST_COMPLETED)
    server.force_exit = True
    await serving
    if resolver is not None:
        await asyncio.to_thread(resolver.stop)
    await users.close()
    for task in (beat, stopping, at_once):
        task.cancel()
    await asyncio.to_thread(admin.stop)
    logger.info("stopped")


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would stop accepting at once."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Stop:
    """The first SIGTERM or SIGINT asks to drain and stop, the second to stop at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.requested = asyncio.Event()
        self.at_once = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._received)

    def _received(self) -> None:
        (self.at_once if self.requested.is_set() else self.requested).set()


def _find_users(
    settings: GatewaySettings, users: UsersClient, health: Health, loop: asyncio.AbstractEventLoop
) -> Resolver | None:
    if settings.user_service_target is not None:
        users.use(settings.user_service_target)
        return None

    def use(addresses: tuple[str, ...], target: str) -> None:
        if addresses:
            health.users_found()
            users.use(target)

    def changed(snapshot: Snapshot) -> None:  # on the resolver's thread, which may wait for names to be resolved
        loop.call_soon_threadsafe(use, snapshot.addresses, target_of(snapshot.addresses))

    password = settings.etcd_password
    resolver = Resolver(
        EtcdConfig(
            endpoints=settings.etcd_endpoints,
            username=settings.etcd_username,
            password=password.get_secret_value() if password else None,
        ),
        settings.registry_service,
        prefix=settings.registry_prefix,
        on_change=changed,
    )
    resolver.start()
    return resolver


def _tokens(settings: GatewaySettings) -> Tokens:
    return Tokens(settings.jwt_secret.get_secret_value(), settings.previous_secrets, issuer=settings.jwt_issuer)


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def _bind(name: str, port: int, bind: Callable[[], T]) -> T:
    try:
        return bind()
    except OSError as error:
        sys.stderr.write(f"error: {name}: port {port} cannot be listened on: {error.strerror or error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
