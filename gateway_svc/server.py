"""The running gateway: startup order, draining and shutdown."""

import asyncio
import contextlib
import gc
import logging
import math
import time
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from gateway_svc import app, metrics
from gateway_svc.config import GatewaySettings
from gateway_svc.handlers import Handlers
from gateway_svc.health import Health
from gateway_svc.http_server.server import HttpServer
from gateway_svc.revocations import RevocationFeed, Revocations
from gateway_svc.throttling import ClientAddresses, Throttle
from gateway_svc.tokens import AccessTokens, DeviceTokens, RefreshTokens
from gateway_svc.users_client import Tls, UsersClient, target_of
from service_kit import ports
from service_kit.files import Reader, Use
from service_kit.grpc_tls import channel_credentials
from service_kit.process import stop_events
from service_kit.registry import Resolver, Snapshot
from service_kit.settings import ThrottleMode
from service_kit.telemetry.access_log import AccessLog
from service_kit.telemetry.logs import LIFECYCLE

logger = logging.getLogger(LIFECYCLE)


class Server:
    """The gateway on its port."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Bind the port; nothing is answered yet.

        Raises:
            PortTakenError: when it cannot be had.
        """
        self._settings = settings
        self._health = Health()
        self._reader = Reader(settings.file_poll_interval)
        tls, own_tls = settings.tls_files("GRPC_TLS", Use.CLIENT), settings.tls_files("HTTP_TLS", Use.SERVER)
        self._certificates = tls.follow(self._reader) if tls is not None else None
        self._own_certificates = own_tls.follow(self._reader) if own_tls is not None else None
        self._etcd = settings.etcd(self._reader)
        self._key_files = self._reader.follow(settings.key_files, settings.keys) if settings.key_files else None
        keys = self._key_files.value if self._key_files is not None else settings.keys()
        self._revocations = Revocations()
        self._tokens = AccessTokens(
            keys,
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            is_revoked=self._revocations.is_revoked,
        )
        self._refresh_tokens = RefreshTokens(keys)
        self._device_tokens = DeviceTokens(keys)
        metrics.keys_in_use(len(keys.secrets))
        self._users = UsersClient(self._tls())
        self._listener = ports.listen("LISTEN_PORT", settings.listen_host, settings.listen_port)
        self.port: int = self._listener.getsockname()[1]
        self.livez = self._health.livez
        self.readyz = self._health.readyz

    def run(self, listening: Callable[[], None]) -> None:
        """Serve until the first SIGTERM or SIGINT, then drain; a second one cuts that short."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._run(listening))

    async def _run(self, listening: Callable[[], None]) -> None:
        stop, at_once = stop_events()
        beat = asyncio.create_task(self._health.beat())
        http = self._http()
        serving = asyncio.create_task(http.serve(sockets=[self._listener]))
        self._follow_files()
        resolver = self._find_users()
        feed = RevocationFeed(self._users, self._revocations)
        metrics.follow_revocations(lambda: feed.age)
        self._health.revocations_age = lambda: feed.age
        following = asyncio.create_task(feed.follow())
        await http.listening(serving)
        gc.collect()
        gc.freeze()  # what was loaded stays for good, and need not be looked through again and again
        listening()
        if self._certificates is None:
            logger.info("gRPC is not encrypted: GRPC_TLS_CERT_FILE is not set")

        await stop.wait()
        self._health.draining = True
        logger.info("draining")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(at_once.wait(), self._settings.drain_delay)
        if self._settings.drain_delay:
            await _either(asyncio.create_task(http.wait_for_clients(self._settings.grace)), at_once.wait())
        http.should_exit = True
        await _either(serving, at_once.wait())
        http.force_exit = True
        await _either(serving, asyncio.sleep(1))
        if resolver is not None:
            await asyncio.to_thread(resolver.stop)
        self._reader.stop()
        following.cancel()
        await self._users.close()
        beat.cancel()

    def _http(self) -> HttpServer:
        settings = self._settings
        is_throttling = settings.throttle_mode is not ThrottleMode.OFF
        application = app.build(
            Handlers(
                self._users,
                self._tokens,
                self._refresh_tokens,
                self._device_tokens,
                self._revocations,
                Throttle(settings.throttle_mode),
            ),
            self._tokens,
            self._health,
            find_client=ClientAddresses(settings.trusted_proxies if is_throttling else None).of,
            body_timeout=settings.body_timeout,
            docs=settings.docs,
            cors_origins=settings.cors_origins,
            access_log=AccessLog(
                "gateway_svc.access", "request", settings.access_log_sample, asyncio.get_running_loop()
            ),
        )
        return HttpServer(
            application,
            head_timeout=settings.head_timeout,
            keep_alive_timeout=settings.keep_alive_timeout,
            max_connections=settings.max_connections,
            grace=settings.grace,
            certificates=self._own_certificates,
        )

    def _tls(self) -> Tls | None:
        certificates = self._certificates
        if certificates is None:
            return None
        return Tls(lambda: channel_credentials(certificates.value), self._settings.grpc_tls_server_name)

    def _follow_files(self) -> None:
        loop = asyncio.get_running_loop()

        def renew() -> None:
            loop.call_soon_threadsafe(self._users.renew)

        def use_keys() -> None:
            loop.call_soon_threadsafe(self._use_keys)

        if self._certificates is not None:
            self._certificates.on_change(renew)
        if self._key_files is not None:
            self._key_files.on_change(use_keys)
            self._key_files.on_failure(lambda: metrics.keys_reloaded("failed"))
        self._reader.start()
        self._health.threads.append(self._reader.thread)

    def _use_keys(self) -> None:
        if self._key_files is not None:
            keys = self._key_files.value
            self._tokens.use(keys)
            self._refresh_tokens.use(keys)
            self._device_tokens.use(keys)
            metrics.keys_in_use(len(keys.secrets))
            metrics.keys_reloaded("taken")

    def _find_users(self) -> Resolver | None:
        settings = self._settings
        if settings.user_service_target is not None:
            self._users.use(settings.user_service_target, self._health.users_found)
            return None

        service, loop = settings.registry_service, asyncio.get_running_loop()
        if self._etcd is None:  # which the settings do not accept without a target
            return None

        def changed(snapshot: Snapshot) -> None:
            loop.call_soon_threadsafe(self._use, snapshot)

        resolver = Resolver(
            self._etcd,
            service,
            prefix=settings.registry_prefix,
            on_change=changed,
        )
        metrics.follow_registry(service, lambda: resolver.snapshot.age if resolver.snapshot else math.nan)
        self._health.threads.append(resolver.thread)
        resolver.start()
        return resolver

    def _use(self, snapshot: Snapshot) -> None:
        metrics.endpoints_known(self._settings.registry_service, len(snapshot.instances))
        if snapshot.instances:
            self._health.users_found()
            self._users.use(
                target_of(snapshot.addresses),
                lambda: metrics.endpoints_in_use(time.monotonic() - snapshot.confirmed_at),
            )


async def _either(task: asyncio.Task[None], other: Coroutine[Any, Any, Any]) -> None:
    """Wait until `task` or `other` is done, and drop `other`."""
    waiting = asyncio.create_task(other)
    await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
