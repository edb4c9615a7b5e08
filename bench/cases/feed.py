"""The feed of revocations with many gateways: what it costs a user service and how soon all gateways know a logout."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from bench.processes import Service, service
from bench.rates import Extent
from bench.report import Figure, at_most, fact
from gateway_svc.revocations import RevocationFeed, Revocations
from gateway_svc.users_client import UsersClient
from tests.support.mariadb import Database, Server

GATEWAYS = 100
LOGOUTS = 660
"""In the last minute, which each reading lists again: of a million users, one in a hundred in a quarter of an hour."""
TIMEOUT = 30.0


class _Gateway(NamedTuple):
    feed: RevocationFeed
    revocations: Revocations


def measure(folder: Path, extent: Extent) -> list[Figure]:
    """Let the feeds of all gateways read from one user service, without logouts and with many."""
    with ExitStack() as stack:
        database = stack.enter_context(Server.create(folder / "mariadb")).database()
        users = stack.enter_context(service("user_svc", folder, {"DB_DSN": database.go_dsn, "BCRYPT_COST": "10"}))
        users.until_ready()
        return asyncio.run(_measure(users, database, extent))


async def _measure(users: Service, database: Database, extent: Extent) -> list[Figure]:
    async with _gateways(users.target) as gateways:
        await _until(lambda: all(each.feed.age < TIMEOUT for each in gateways))
        quiet = await _core(users, extent.rounds * extent.seconds)
        taken = [each for _ in range(extent.rounds * 4) for each in await _log_out(database, gateways, 1)]
        await _log_out(database, gateways, LOGOUTS)
        busy = await _core(users, extent.rounds * extent.seconds)
    p99 = quantiles(taken, n=100, method="inclusive")[98]
    size = f"{GATEWAYS} gateways, one user service, MariaDB"
    return [
        at_most("logout in the database to a gateway: p99", p99, 2, "s", f"median {median(taken):.2f} s, {size}"),
        fact("user service, no logouts", quiet, "% of a core", size),
        fact("user service, many logouts", busy, "% of a core", f"{LOGOUTS} in the last minute"),
    ]


@asynccontextmanager
async def _gateways(target: str) -> AsyncIterator[list[_Gateway]]:
    clients = [UsersClient() for _ in range(GATEWAYS)]
    gateways = []
    for client in clients:
        client.use(target, lambda: None)
        revocations = Revocations()
        gateways.append(_Gateway(RevocationFeed(client, revocations), revocations))
    following = []
    try:
        for gateway in gateways:
            following.append(asyncio.create_task(gateway.feed.follow()))
            await asyncio.sleep(1 / GATEWAYS)  # they do not all read at one moment
        yield gateways
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        await asyncio.gather(*(client.close() for client in clients))


async def _core(users: Service, seconds: float) -> float:
    began, before = time.monotonic(), users.cpu_seconds()
    await asyncio.sleep(seconds)
    return (users.cpu_seconds() - before) / (time.monotonic() - began) * 100


async def _log_out(database: Database, gateways: list[_Gateway], count: int) -> list[float]:
    """End so many sessions, and return the seconds until each gateway knew."""
    known = [len(gateway.revocations) + count for gateway in gateways]
    began = time.monotonic()
    _revoke(database, count)

    async def wait(gateway: _Gateway, expected: int) -> float:
        await _until(lambda: len(gateway.revocations) >= expected)
        return time.monotonic() - began

    return await asyncio.gather(*map(wait, gateways, known))


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110  # the feeds tell nobody
            await asyncio.sleep(0.02)


def _revoke(database: Database, count: int) -> None:
    moment = "UNIX_TIMESTAMP(NOW(3)) * 1000"
    rows = ", ".join(f"('session', x'{secrets.token_hex(16)}', {moment}, {moment} + 900000)" for _ in range(count))
    database.execute(f"INSERT INTO revocations (kind, token_id, at, expires_at) VALUES {rows}")
