"""How long a login takes beside idle and busy connections, against how long it takes alone."""

import resource
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from statistics import median, quantiles

import httpx

from bench import tokens, wrk
from bench.processes import CREDENTIALS, Service, platform
from bench.rates import Extent, in_turn
from bench.report import Figure, at_most

IDLE, BUSY = 1_000, 100
PAUSE_MS = 100
"""Before each request of a busy connection: all of them together send a thousand a second, which is no flood."""


def measure(folder: Path, extent: Extent) -> list[Figure]:
    """Log in, one login after the other, in rounds with and without the other connections."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most if most < 0 else min(most, 4096), most))
    profile = wrk.Request("/api/profile", tokens=tokens.write(folder, 1_000))
    seconds = extent.seconds + 1
    p99: dict[str, list[float]] = {"alone": [], "beside": []}
    busy = 0.0
    with (
        platform(folder, bcrypt_cost=10) as (_, gateway),
        httpx.Client(base_url=gateway.url) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        _log_in(client, seconds)  # what is done once is done before it is measured
        for name, _ in in_turn(dict.fromkeys(p99), extent.rounds):
            if name == "alone":
                p99[name].append(_log_in(client, seconds))
                continue
            with _idle(gateway):
                load = pool.submit(
                    wrk.run, gateway.url, profile, folder, seconds=seconds + 1, connections=BUSY, pause_ms=PAUSE_MS
                )
                p99[name].append(_log_in(client, seconds))
                busy = load.result().requests / load.result().seconds
    ratio = median(beside / alone for beside, alone in zip(p99["beside"], p99["alone"], strict=True))
    detail = f"medians {median(p99['beside']):.1f} against {median(p99['alone']):.1f} ms; {extent.rounds} rounds"
    return [
        at_most(
            f"p99 of a login beside {IDLE:,} idle and {BUSY} busy connections / alone",
            ratio,
            1.2,
            "x",
            f"{detail}; the busy ones got {busy:,.0f} answers a second",
        )
    ]


def _log_in(client: httpx.Client, seconds: int) -> float:
    """Log in again and again for `seconds`; returns the 99th percentile of the time it took, in milliseconds."""
    taken = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        client.post("/api/login", json=CREDENTIALS).raise_for_status()
        taken.append((time.monotonic() - began) * 1e3)
    return quantiles(taken, n=100, method="inclusive")[98]


@contextmanager
def _idle(gateway: Service) -> Iterator[None]:
    """Hold connections that have had an answer each, and get one more on each at the end.

    Raises:
        http.client.HTTPException: when one was closed meanwhile.
    """
    with ExitStack() as stack:
        connections = [
            stack.enter_context(closing(HTTPConnection("127.0.0.1", gateway.port, timeout=10))) for _ in range(IDLE)
        ]
        for connection in connections:
            _ping(connection)
            connection.auto_open = 0
        yield
        for connection in connections:
            _ping(connection)


def _ping(connection: HTTPConnection) -> None:
    connection.request("GET", "/ping")
    connection.getresponse().read()
