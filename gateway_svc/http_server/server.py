"""uvicorn's server: its configuration, and how it drains."""

import asyncio
import contextlib
import logging
import math
import socket
import ssl
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import uvicorn

from gateway_svc import metrics
from gateway_svc.http_server.connections import ConnectionLimit
from gateway_svc.http_server.protocol import Limits, Protocol
from service_kit.files import Certificates, MountedFiles

IDLE_SHARE = 1 / 4
"""The share of the grace for which idle connections are left to their clients after the drain delay: 5 s of 20. What is
sent in the very moment in which the server closes is lost, and a connection that was not used for so long is hardly
used just then. Clients that drop idle connections by themselves do so after 5 s, or much later."""

SHUTDOWN_TIMEOUT = 2.0
"""Seconds for which a client may take to end TLS when the server closes a connection."""


class HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers, which would stop accepting at once."""

    def __init__(
        self,
        application: Any,
        *,
        head_timeout: float,
        keep_alive_timeout: int,
        max_connections: int,
        grace: float,
        certificates: MountedFiles[Certificates] | None = None,
    ) -> None:
        """Prepare to serve `application`, by HTTPS when there are `certificates`; times are in seconds."""
        self._connections = ConnectionLimit(max_connections)
        limits = Limits(head_timeout, keep_alive_timeout, self._connections)
        config = uvicorn.Config(
            application,
            interface="asgi3",
            http=partial(Protocol, limits=limits),  # type: ignore[arg-type]  # it is only called
            ws="none",
            lifespan="off",
            log_config=None,
            log_level=logging.WARNING,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=keep_alive_timeout,
            timeout_graceful_shutdown=math.ceil(grace),
        )
        super().__init__(config)
        self._certificates = certificates
        self._handshake_timeout = head_timeout
        self._handshakes: set[asyncio.Task[None]] = set()
        metrics.follow_connections(lambda: len(self.server_state.connections))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on `sockets`: with TLS by ourselves, so that handshakes are counted and have a time limit."""
        if self._certificates is None:
            await super().startup(sockets)
            return
        await super().startup([])
        context = _context(self._certificates)
        for listener in sockets or ():
            listener.setblocking(False)
            listener.listen(self.config.backlog)
            asyncio.get_running_loop().add_reader(listener, self._accept, listener, context)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, and let what is in flight finish."""
        if self._certificates is not None:
            for listener in sockets or ():
                asyncio.get_running_loop().remove_reader(listener)
        await super().shutdown(sockets)

    def _accept(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        """Take a connection; one whose handshake goes on counts, too, since that takes a file and memory."""
        try:
            connection, _ = listener.accept()
        except OSError:  # the client closed it already
            return
        count = len(self.server_state.connections) + len(self._handshakes)
        if not self._connections.admits(count, connection.fileno()):
            connection.close()
            return
        connection.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._shake_hands(connection, context))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        with contextlib.suppress(OSError):  # the client sent no TLS, or closed the connection
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol,
                connection,
                ssl=context,
                ssl_handshake_timeout=self._handshake_timeout,
                ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
            )

    def _protocol(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield

    async def listening(self, serving: asyncio.Task[None]) -> None:
        """Wait until requests are accepted, or until `serving` fails."""
        while not self.started and not serving.done():  # noqa: ASYNC110  # uvicorn offers no event
            await asyncio.sleep(0.01)
        if serving.done():
            await serving

    async def wait_for_clients(self, grace: float) -> None:
        """Wait until no connection is left, or for their share of `grace`; requests in flight keep the rest."""
        began = time.monotonic()
        while self.server_state.connections and time.monotonic() - began < grace * IDLE_SHARE:  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # uvicorn offers no event
        self.config.timeout_graceful_shutdown = math.ceil(grace - (time.monotonic() - began))


def _context(certificates: MountedFiles[Certificates]) -> ssl.SSLContext:
    """Return the context of HTTPS, whose new handshakes present the newest certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    certificates.value.load_into(context)
    certificates.on_change(lambda: certificates.value.load_into(context))
    return context
