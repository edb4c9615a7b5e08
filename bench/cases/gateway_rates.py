"""Requests a second per core: the gateway beside FastAPI, which does the same work on the same server."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import jwt

from bench import wrk
from bench.processes import JWT_SECRET, LOOPBACK, SERVER_CORE, Service, until_ready
from bench.report import Figure, at_least, at_most

ROUNDS, SECONDS = 5, 3


@dataclass(frozen=True)
class Request:
    """What is sent, and how much faster than FastAPI the answer has to be."""

    name: str
    path: str
    goal: float
    extra: dict[str, Any] = field(default_factory=dict)


def _requests() -> list[Request]:
    claims = {"user_id": 1, "username": "bench_user", "exp": int(time.time()) + 3600}
    bearer = {"Authorization": f"Bearer {jwt.encode(claims, JWT_SECRET, 'HS256')}"}
    body = {"username": "bench_user", "password": "password123"}
    return [
        Request("GET /ping", "/ping", 1.5),
        Request("GET /api/profile", "/api/profile", 1.5, {"headers": bearer}),
        Request("POST /api/register over gRPC", "/api/register", 1.2, {"method": "POST", "body": body}),
    ]


def measure(folder: Path) -> list[Figure]:
    """Load both in turn, round by round, and compare requests per second of processor time."""
    figures = []
    with Service("bench.users_stub", {}, folder=folder) as users:
        target = f"ipv4:127.0.0.1:{users.listening()['port']}"
        env = {**LOOPBACK, "JWT_SECRET": JWT_SECRET, "USER_SERVICE_TARGET": target}
        with (
            Service("gateway_svc", env, core=SERVER_CORE, folder=folder) as gateway,
            Service("bench.fastapi_peer", env, core=SERVER_CORE, folder=folder) as peer,
        ):
            ports = gateway.listening()
            until_ready(f"http://127.0.0.1:{ports['admin_port']}/readyz")
            started_in = time.monotonic() - gateway.started
            urls = {gateway: f"http://127.0.0.1:{ports['port']}", peer: f"http://127.0.0.1:{peer.listening()['port']}"}
            for request in _requests():
                ratios, rates = [], []
                for _ in range(ROUNDS):
                    ours, theirs = (
                        _per_core(service, url + request.path, folder, request) for service, url in urls.items()
                    )
                    ratios.append(ours / theirs)
                    rates.append((ours, theirs))
                ours, theirs = (median(side) for side in zip(*rates, strict=True))
                spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
                detail = (
                    f"{ours:,.0f} against FastAPI's {theirs:,.0f} requests a second per core; {ROUNDS} rounds {spread}"
                )
                figures.append(
                    at_least(f"{request.name}, gateway / FastAPI", median(ratios), request.goal, detail=detail)
                )
            figures.append(at_most("gateway, resident after this load", gateway.resident_mib(), 120, "MiB"))
    figures.append(at_most("gateway, cold start to ready", started_in, 3, "s", "while FastAPI starts on the same core"))
    return figures


def _per_core(service: Service, url: str, folder: Path, request: Request) -> float:
    before = service.cpu_seconds()
    load = wrk.run(url, folder, seconds=SECONDS, **request.extra)
    return load.requests / (service.cpu_seconds() - before)
