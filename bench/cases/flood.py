"""More logins at once than the cores can check before their callers give up."""

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import quantiles

import httpx

from bench.processes import CREDENTIALS, platform
from bench.rates import Extent
from bench.report import Figure, at_most

COST = 14
LOGINS = 150


def measure(folder: Path, extent: Extent) -> list[Figure]:
    """Send one flood to a platform that has just started; a flood has no shorter form."""
    with platform(folder, bcrypt_cost=COST) as (users, gateway):
        before = users.resident_mib()
        figures = asyncio.run(_flood(gateway.url, gateway.admin_url))
        return [
            *figures,
            at_most("user service, growth over the flood", users.resident_mib() - before, 20, "MiB"),
            at_most("user service, resident after the flood", users.resident_mib(), 120, "MiB"),
            at_most("gateway, resident after the flood", gateway.resident_mib(), 120, "MiB"),
        ]


async def _flood(url: str, admin_url: str) -> list[Figure]:
    latencies: dict[str, list[float]] = {"/ping": [], "/livez": []}
    async with AsyncExitStack() as stack:
        # one for each login: a pool of 150 connections takes most of a second of the cores that are measured
        clients = [
            await stack.enter_async_context(httpx.AsyncClient(timeout=30, verify=False, trust_env=False))
            for _ in range(LOGINS + 1)
        ]

        async def attempt(client: httpx.AsyncClient) -> tuple[int, float, bool]:
            began = time.monotonic()
            answer = await client.post(f"{url}/api/login", json=CREDENTIALS)
            return answer.status_code, time.monotonic() - began, "retry-after" in answer.headers

        async def watch(path: str, target: str) -> None:
            while True:
                began = time.monotonic()
                (await clients[-1].get(target + path)).raise_for_status()
                latencies[path].append(time.monotonic() - began)
                await asyncio.sleep(0.01)

        watching = [asyncio.create_task(watch("/ping", url)), asyncio.create_task(watch("/livez", admin_url))]
        attempts = await asyncio.gather(*(attempt(client) for client in clients[:LOGINS]))
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        statuses = Counter(status for status, _, _ in attempts)
        refused = [taken for status, taken, retry in attempts if status == 503 and retry]
        after = await attempt(clients[-1])
    if set(statuses) - {200, 503} or len(refused) != statuses[503] or after[0] != 200:
        raise RuntimeError(f"a flood of logins was answered with {statuses}, the login after it with {after[0]}")
    outcome = f"{statuses[200]} logged in, {statuses[503]} refused with Retry-After, then a login succeeded"
    return [
        at_most(f"{LOGINS} logins at once: slowest refusal", max(refused, default=0) * 1e3, 1000, "ms", outcome),
        *(
            at_most(f"{LOGINS} logins at once: p99 of {path}", p99 * 1e3, 200, "ms", f"{len(taken)} requests")
            for path, taken in latencies.items()
            for p99 in [quantiles(taken, n=100, method="inclusive")[98]]
        ),
    ]
