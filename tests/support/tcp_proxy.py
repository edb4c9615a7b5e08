"""A TCP proxy before a server: what a load balancer, or a broken network, does to connections."""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.support.etcd import free_port

COMMIT = b"\x03COMMIT"
"""The statement as MySQL's protocol has it (COM_QUERY): each new connection sends SET AUTOCOMMIT."""

_CHUNK = 65536


@dataclass
class _Connection:
    is_doomed: bool = False
    hangs: threading.Event | None = None
    """Set once the server has answered what is sent next."""


class TcpProxy:
    """Forwards connections to a port of 127.0.0.1; use it as a context manager."""

    def __init__(self, upstream: int) -> None:
        self.port = free_port()
        self.accepted = 0
        """Connections so far."""
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tcp proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._lost: tuple[bytes, bool] | None = None
        self._accepting: int | None = None
        self._held: tuple[bytes, bool, threading.Event] | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self.accept()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.flow()
        self.shut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def lead_to(self, upstream: int) -> None:
        """Send new connections to another port; those that are open keep theirs."""
        self._upstream = upstream

    def accept(self) -> None:
        """Accept connections, as from the start."""
        self._run(self._listen())

    def shut(self) -> None:
        """Refuse new connections and close those that are open."""
        self._run(self._close())

    def hang(self) -> None:
        """Hold back every byte in both directions, of new connections as well."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def flow(self) -> None:
        """Let through what was held back."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    def silence_after(self, connections: int | None) -> None:
        """Give no answer on connections that follow so many more, until None is given; those stay silent."""
        self._accepting = connections

    def lose(self, request: bytes, *, delivered: bool) -> None:
        """Close the next connection on which `request` is sent: once it is answered, or before it arrives."""
        self._lost = (request, delivered)

    def hang_at(self, request: bytes, *, delivered: bool) -> threading.Event:
        """Do as hang() once `request` is sent or, if it is to be delivered, answered; return what is set then."""
        hangs = threading.Event()
        self._held = (request, delivered, hangs)
        return hangs

    def _run(self, step: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(step, self._loop).result(10)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._forward, "127.0.0.1", self.port)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._open:
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        ends = [writer]
        self._open.add(writer)
        connection = _Connection()
        if self._accepting is not None:
            self._accepting -= 1
            if self._accepting < 0:
                with suppress(OSError):
                    await reader.read()  # to the end
        with suppress(OSError):
            await self._flowing.wait()
            answers, server = await asyncio.open_connection("127.0.0.1", self._upstream)
            ends.append(server)
            self._open.add(server)
            await asyncio.gather(self._send(reader, server, connection), self._answer(answers, writer, connection))
        for end in ends:
            self._open.discard(end)
            end.close()

    async def _send(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, connection: _Connection) -> None:
        with suppress(OSError):
            while data := await source.read(_CHUNK):
                await self._flowing.wait()
                if self._lost and self._lost[0] in data:
                    (_, delivered), self._lost = self._lost, None
                    connection.is_doomed = True
                    if not delivered:
                        break
                if self._held and self._held[0] in data:
                    (_, delivered, hangs), self._held = self._held, None
                    self._flowing.clear()
                    if delivered:
                        connection.hangs = hangs
                    else:
                        hangs.set()
                        await self._flowing.wait()
                target.write(data)
                await target.drain()
        target.close()

    async def _answer(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, connection: _Connection
    ) -> None:
        with suppress(OSError):
            while (data := await source.read(_CHUNK)) and not connection.is_doomed:
                if connection.hangs is not None:
                    connection.hangs.set()
                await self._flowing.wait()
                target.write(data)
                await target.drain()
        target.close()
