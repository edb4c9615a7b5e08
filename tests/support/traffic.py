"""Steady traffic in the background of a test: requests leave by the clock, however long answers take."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from tests.support.wait import wait_until


@dataclass(frozen=True)
class Sent:
    """One request: when it left (time.monotonic()), how long it took in seconds, and its answer or error."""

    at: float
    took: float
    status: int
    body: Any
    error: str = ""


Send = Callable[[httpx.AsyncClient, int], Awaitable[httpx.Response]]
"""Sends the request with this number."""


class Traffic:
    """`rate` requests a second from `start` to `stop`, or for as long as the context lasts."""

    def __init__(self, send: Send, *, rate: float = 10.0, timeout: float = 15.0) -> None:
        self._send = send
        self._interval = 1 / rate
        self._timeout = timeout
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="traffic", daemon=True)
        self.sent: list[Sent] = []
        """What has been answered or has failed so far, in the order of that."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Send no more, and wait for what is on its way."""
        self._over.set()
        self._thread.join(self._timeout + 5)
        assert not self._thread.is_alive()

    def wait_for(self, more: int, timeout: float = 30.0) -> None:
        """Wait until `more` requests that leave from now on have ended."""
        now = time.monotonic()
        wait_until(lambda: sum(s.at >= now for s in list(self.sent)) >= more, timeout, what=f"{more} more requests")

    def wait_seconds(self, seconds: float) -> None:
        """Let the traffic go on for so long: the length of an outage, not a wait for something to happen."""
        self._over.wait(seconds)

    @property
    def summary(self) -> Counter[str]:
        """How many ended in which way."""
        return Counter(s.error or str(s.status) for s in self.sent)

    def others(self, *expected: int) -> list[Sent]:
        """Return the requests that ended in another way than with these statuses."""
        return [s for s in self.sent if s.status not in expected]

    async def _run(self) -> None:
        # no connection is kept: each request takes a new one, as those of many clients do
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(timeout=self._timeout, limits=limits, trust_env=False) as client:
            tasks = set()
            due = time.monotonic()
            number = 0
            while not self._over.is_set():
                tasks.add(asyncio.create_task(self._one(client, number)))
                number += 1
                due += self._interval
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            await asyncio.gather(*tasks)

    async def _one(self, client: httpx.AsyncClient, number: int) -> None:
        at = time.monotonic()
        try:
            answer = await self._send(client, number)
        except httpx.HTTPError as error:
            self.sent.append(Sent(at, time.monotonic() - at, 0, None, repr(error)))
        else:
            self.sent.append(Sent(at, time.monotonic() - at, answer.status_code, answer.json()))


def post(url: str, path: str, body: object) -> Send:
    """Return what sends `body` to one gateway, over and over."""

    async def send(client: httpx.AsyncClient, _: int) -> httpx.Response:
        return await client.post(f"{url}{path}", json=body)

    return send
