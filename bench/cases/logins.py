"""Logins: what of the cores' raw bcrypt is left, what a flood does, whether the time of an answer tells a user."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

import bcrypt
import grpc
import httpx
from scipy.stats import wilcoxon

from bench.processes import JWT_SECRET, LOOPBACK, Service, until_ready
from bench.report import Figure, at_least, at_most
from protos.user.v1 import user_pb2, user_pb2_grpc

COST = 14
SECONDS = 12.0
FLOOD = 150
PAIRS = 200
CORES = os.cpu_count() or 1
NAME, PASSWORD = "bench_user", "password123"


def measure(folder: Path) -> list[Figure]:
    """Run all three on one gateway and one user service."""
    return [*_throughput_and_flood(folder), *_timing(folder)]


def _throughput_and_flood(folder: Path) -> list[Figure]:
    with Service("user_svc", _user_env(folder, COST), folder=folder) as users:
        port = users.listening()["port"]
        env = {**LOOPBACK, "JWT_SECRET": JWT_SECRET, "USER_SERVICE_TARGET": f"ipv4:127.0.0.1:{port}"}
        with Service("gateway_svc", env, folder=folder) as gateway:
            ports = gateway.listening()
            url, admin = (f"http://127.0.0.1:{ports[name]}" for name in ("port", "admin_port"))
            until_ready(f"{admin}/readyz")
            httpx.post(
                f"{url}/api/register", json={"username": NAME, "password": PASSWORD}, timeout=10
            ).raise_for_status()
            raw, logins = [], []
            for _ in range(3):
                raw.append(_raw_rate())
                logins.append(_login_rate(url))
            rate = at_least(
                f"logins a second at cost {COST} / raw bcrypt on {CORES} cores",
                median(ours / theirs for ours, theirs in zip(logins, raw, strict=True)),
                0.98,
                detail=f"{median(logins):.2f} against {median(raw):.2f} a second; 3 interleaved rounds",
            )
            before = users.resident_mib()
            flood = asyncio.run(_flood(url, admin))
            memory = [
                at_most("user service, growth over the flood", users.resident_mib() - before, 20, "MiB"),
                at_most("user service, resident after the flood", users.resident_mib(), 120, "MiB"),
                at_most("gateway, resident after the flood", gateway.resident_mib(), 120, "MiB"),
            ]
    return [rate, *flood, *memory]


def _user_env(folder: Path, cost: int) -> dict[str, str]:
    return {**LOOPBACK, "BCRYPT_COST": str(cost), "DATA_DIR": str(folder / f"data-{cost}")}


def _raw_rate() -> float:
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(COST))
    return _rate(lambda: bcrypt.checkpw(PASSWORD.encode(), hashed))


def _login_rate(url: str) -> float:
    """One more caller than cores, so that a core need not wait for a caller."""
    body = {"username": NAME, "password": PASSWORD}
    with httpx.Client(timeout=30) as client:
        return _rate(lambda: client.post(f"{url}/api/login", json=body).status_code == 200, callers=CORES + 1)


def _rate(check: Callable[[], bool], callers: int = CORES) -> float:
    """Let each caller check for SECONDS and count whole checks over the time that they took."""
    end = time.monotonic() + SECONDS

    def one_caller() -> float:
        begun, done = time.monotonic(), 0
        while time.monotonic() < end:
            if not check():
                raise RuntimeError("a check of the right password failed")
            done += 1
        return done / (time.monotonic() - begun)

    with ThreadPoolExecutor(callers) as pool:
        return sum(running.result() for running in [pool.submit(one_caller) for _ in range(callers)])


async def _flood(url: str, admin: str) -> list[Figure]:
    latencies: dict[str, list[float]] = {"/ping": [], "/livez": []}
    async with AsyncExitStack() as stack:
        # one for each login: a pool of 150 connections takes most of a second of the cores that are measured
        clients = [
            await stack.enter_async_context(httpx.AsyncClient(timeout=30, verify=False, trust_env=False))
            for _ in range(FLOOD + 1)
        ]
        login = {"username": NAME, "password": PASSWORD}

        async def attempt(client: httpx.AsyncClient) -> tuple[int, float, bool]:
            begun = time.monotonic()
            answer = await client.post(f"{url}/api/login", json=login)
            return answer.status_code, time.monotonic() - begun, "retry-after" in answer.headers

        async def watch(path: str, target: str) -> None:
            while True:
                begun = time.monotonic()
                (await clients[-1].get(target + path)).raise_for_status()
                latencies[path].append(time.monotonic() - begun)
                await asyncio.sleep(0.01)

        watching = [asyncio.create_task(watch("/ping", url)), asyncio.create_task(watch("/livez", admin))]
        attempts = await asyncio.gather(*(attempt(client) for client in clients[:FLOOD]))
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
        at_most(f"{FLOOD} logins at once: slowest refusal", max(refused, default=0) * 1e3, 1000, "ms", outcome),
        *(
            at_most(f"{FLOOD} logins at once: p99 of {path}", _p99(taken) * 1e3, 200, "ms", f"{len(taken)} requests")
            for path, taken in latencies.items()
        ),
    ]


def _p99(values: list[float]) -> float:
    return sorted(values)[max(0, int(len(values) * 0.99) - 1)]


def _timing(folder: Path) -> list[Figure]:
    """Unknown users and wrong passwords in turn; a cost of 10 makes a difference easier to see, not harder."""
    with Service("user_svc", _user_env(folder, 10), folder=folder) as users:
        ports = users.listening()
        until_ready(f"http://127.0.0.1:{ports['admin_port']}/readyz")
        channel = grpc.insecure_channel(f"ipv4:127.0.0.1:{ports['port']}")
        stub = user_pb2_grpc.UserServiceStub(channel)
        stub.Register(user_pb2.RegisterRequest(username=NAME, password=PASSWORD), timeout=10)

        def timed(name: str) -> float:
            begun = time.perf_counter()
            if stub.Login(user_pb2.LoginRequest(username=name, password="wrong-password"), timeout=10).code != 401:
                raise RuntimeError("a wrong password was accepted")
            return time.perf_counter() - begun

        pairs = []
        for turn in range(PAIRS):
            order = [NAME, f"nobody_{turn}"][:: 1 if turn % 2 else -1]
            taken = {name == NAME: timed(name) for name in order}
            pairs.append((taken[True], taken[False]))
        channel.close()
    known, unknown = zip(*pairs, strict=True)
    probability = float(wilcoxon(known, unknown).pvalue)
    detail = (
        f"medians {median(known) * 1e3:.2f} ms known, {median(unknown) * 1e3:.2f} ms unknown; {PAIRS} interleaved pairs"
    )
    return [at_least("known or unknown user: p-value of the difference in time", probability, 0.01, "", detail)]
