"""The gateway beside FastAPI, which does the same work on the same server, and beside that server alone."""

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import httpx

from bench import certificates, rates, tokens
from bench.processes import CLIENT_CORE, CREDENTIALS, SERVER_CORE, Service, gateway, service
from bench.rates import Extent, compare
from bench.report import Figure, at_least, at_most, fact
from bench.wrk import Request


def measure(folder: Path, extent: Extent) -> list[Figure]:
    """Load all of them in turn, round by round, each on the same core and with its log in a file."""
    with ExitStack() as stack:
        users = stack.enter_context(service("bench.users_stub", folder, core=CLIENT_CORE))
        ours = stack.enter_context(gateway(folder, users.target))
        started_in = ours.until_ready()
        unlogged = stack.enter_context(gateway(folder, users.target, {"ACCESS_LOG_SAMPLE": "0"}))
        fastapi, bare, stock = (
            stack.enter_context(service(f"bench.{module}", folder, env, core=SERVER_CORE, python=Path(sys.executable)))
            for module, env in (
                ("fastapi_peer", {"USER_SERVICE_TARGET": users.target}),
                ("bare_peer", {}),
                ("bare_peer", {"STOCK_UVICORN": "1"}),
            )
        )
        _check_alike(ours, fastapi, bare)
        pair = {"gateway": ours, "FastAPI": fastapi}

        sides = {**pair, "unlogged": unlogged, "bare": bare, "stock": stock}
        ping = rates.measure(sides, Request("/ping"), folder, extent)
        figures = [
            _ratio("GET /ping, gateway / FastAPI", ping, "FastAPI", 3.5),
            _ratio("GET /ping, gateway / bare ASGI application on its HTTP server", ping, "bare", 0.6),
            _ratio("GET /ping, gateway / the same on stock uvicorn", ping, "stock", None),
            _log_line(ping),
        ]
        register = rates.measure(pair, Request("/api/register", CREDENTIALS), folder, extent)
        figures.append(_ratio("POST /api/register over gRPC, gateway / FastAPI", register, "FastAPI", 1.75))
        figures.append(_profile(1_000, 5.5, pair, folder, extent))
        figures.append(at_most("gateway, resident after this load", ours.resident_mib(), 105, "MiB"))
        figures.append(_profile(40_000, None, pair, folder, extent))
        figures.append(fact("gateway, resident after this as well", ours.resident_mib(), "MiB"))
        figures.append(_encryption(ours, folder, extent))
    figures.append(at_most("gateway, cold start to ready", started_in, 3, "s"))
    return figures


def _ratio(name: str, measured: dict[str, list[float]], to: str, goal: float | None) -> Figure:
    ratio, detail = compare(measured["gateway"], measured[to])
    return fact(name, ratio, detail=detail) if goal is None else at_least(name, ratio, goal, detail=detail)


def _encryption(plain: Service, folder: Path, extent: Extent) -> Figure:
    """Compare with a gateway whose calls go over mutual TLS."""
    files = certificates.write(folder)
    with (
        service("bench.users_stub", folder, files, core=CLIENT_CORE) as users,
        gateway(folder, users.target, files) as encrypted,
    ):
        register = rates.measure(
            {"gateway": encrypted, "plain": plain}, Request("/api/register", CREDENTIALS), folder, extent
        )
    return _ratio("POST /api/register over gRPC, with TLS / without", register, "plain", 0.9)


def _profile(count: int, goal: float | None, pair: dict[str, Service], folder: Path, extent: Extent) -> Figure:
    measured = rates.measure(pair, Request("/api/profile", tokens=tokens.write(folder, count)), folder, extent)
    return _ratio(f"GET /api/profile, {count:,} tokens, gateway / FastAPI", measured, "FastAPI", goal)


def _log_line(ping: dict[str, list[float]]) -> Figure:
    """1/with - 1/without is the time of a line, 1/without that of a request."""
    share, detail = compare(ping["gateway"], ping["unlogged"], lambda logged, unlogged: unlogged / logged - 1)
    return at_most("GET /ping, time of a log line / of the request without it", share, 0.3, "x", detail)


def _check_alike(ours: Service, fastapi: Service, bare: Service) -> None:
    """Refuse to compare what differs in the answer or in the fields of a line of the access log.

    Raises:
        RuntimeError: names the difference, which the peer has to take over.
    """
    answer, least = (httpx.get(f"{each.url}/ping") for each in (ours, bare))
    if answer.content != least.content or answer.headers.keys() != least.headers.keys():
        raise RuntimeError(f"bench/bare_peer.py must answer {answer.headers}, {answer.text}")
    if differing := _access_fields(ours) ^ _access_fields(fastapi):
        raise RuntimeError(f"bench/fastapi_peer.py must log the gateway's fields; only one of them has {differing}")


def _access_fields(server: Service) -> set[str]:
    server.take_log()
    httpx.get(f"{server.url}/ping")
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for line in server.take_log():
            fields: dict[str, object] = json.loads(line)
            if fields.get("route") == "/ping":
                return set(fields)
        time.sleep(0.01)
    raise RuntimeError("a request left no line in the access log")
