"""What being observed costs the gateway: metrics, traces at 10 % sampling, a receiver that hangs."""

import os
import socket
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench import wrk
from bench.processes import CLIENT_CORE, JWT_SECRET, LOOPBACK, SERVER_CORE, Service, until_ready
from bench.report import Figure, at_least, at_most

ROUNDS, SECONDS = 9, 2
TAIL_ROUNDS, TAIL_SECONDS = 30, 1
"""A percentile of one round says little, and the machine changes from one second to the next."""
FILLING = 4
"""Seconds in which more spans are made than the queue holds."""
FEW = 4
"""Connections that leave the gateway room, so that a percentile is of answers and not of the queue before them."""


@dataclass
class Side:
    """One gateway and what it managed, a figure a round."""

    service: Service
    url: str = ""
    per_core: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)


def measure(folder: Path) -> list[Figure]:
    """Load gateways that differ in one thing in turn, round by round, and compare them with the one that is shipped."""
    with ExitStack() as stack:
        users = stack.enter_context(Service("bench.users_stub", {}, folder=folder))
        receiver = stack.enter_context(Service("bench.receiver", {}, core=CLIENT_CORE, folder=folder))
        hung = stack.enter_context(socket.create_server(("127.0.0.1", 0)))  # nobody will ever accept
        env = {
            **LOOPBACK,
            "JWT_SECRET": JWT_SECRET,
            "USER_SERVICE_TARGET": f"ipv4:127.0.0.1:{users.listening()['port']}",
        }
        started = {
            "shipped": ("gateway_svc", env),
            "uncounted": ("bench.without_metrics", env),
            "traced": ("gateway_svc", env | _traced(receiver.listening()["port"])),
            "hung": ("gateway_svc", env | _traced(hung.getsockname()[1])),
        }
        sides = {
            name: Side(stack.enter_context(Service(module, env, core=SERVER_CORE, folder=folder)))
            for name, (module, env) in started.items()
        }
        for side in sides.values():
            ports = side.service.listening()
            side.url = f"http://127.0.0.1:{ports['port']}"
            until_ready(f"http://127.0.0.1:{ports['admin_port']}/readyz")
        compared = {name: side for name, side in sides.items() if name != "hung"}
        figures = [*_rates(compared, folder, "GET /ping", "/ping")]
        body = {"username": "bench_user", "password": "password123"}
        figures += _rates(compared, folder, "POST /api/register", "/api/register", method="POST", body=body)
        wrk.run(f"{sides['hung'].url}/ping", folder, seconds=FILLING)  # the queue is bounded, not empty
        before = sides["hung"].service.resident_mib()
        figures += [_tail(sides, folder)]
        growth = sides["hung"].service.resident_mib() - before
        figures.append(at_most("receiver hangs: growth of the gateway", growth, 2, "MiB", _load()))
        resident = sides["traced"].service.resident_mib()
        figures.append(at_most("gateway that traces, resident after this load", resident, 120, "MiB"))
        return figures


def _traced(port: int) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.1",
    }


def _rates(sides: dict[str, Side], folder: Path, name: str, path: str, **request: Any) -> list[Figure]:
    """Compare requests per second of processor time; the exporting thread's time counts as well."""
    for side in sides.values():
        side.per_core.clear()
    for turn in range(ROUNDS):
        for side in _in_turn(sides, turn):
            before = side.service.cpu_seconds()
            load = wrk.run(side.url + path, folder, seconds=SECONDS, **request)
            side.per_core.append(load.requests / (side.service.cpu_seconds() - before))
    shipped, uncounted, traced = (sides[each].per_core for each in ("shipped", "uncounted", "traced"))
    return [
        at_least(f"{name}: with metrics / without", *_ratio(shipped, uncounted, 0.95)),
        at_least(f"{name}: with 10 % of traces / without", *_ratio(traced, shipped, 0.85)),
    ]


def _ratio(ours: list[float], others: list[float], goal: float) -> tuple[float, float, str, str]:
    ratios = [one / other for one, other in zip(ours, others, strict=True)]
    spread = f"{ROUNDS} rounds {min(ratios):.2f}-{max(ratios):.2f}"
    return median(ratios), goal, "x", f"{median(ours):,.0f} against {median(others):,.0f} a second per core; {spread}"


def _tail(sides: dict[str, Side], folder: Path) -> Figure:
    """Compare the slowest answers of gateways whose receivers take spans, and never answer."""
    chosen = {name: sides[name] for name in ("traced", "hung")}
    for turn in range(TAIL_ROUNDS):
        for side in _in_turn(chosen, turn):
            load = wrk.run(f"{side.url}/ping", folder, seconds=TAIL_SECONDS, connections=FEW)
            side.p99.append(load.p99_ms)
    traced, hung = (chosen[name].p99 for name in ("traced", "hung"))
    detail = f"medians {median(hung):.2f} against {median(traced):.2f} ms"
    detail += f", of {min(hung):.2f}-{max(hung):.2f} against {min(traced):.2f}-{max(traced):.2f}"
    # The machine's own pauses make one round in a few many times worse, on either side: rounds are no pairs here.
    return at_most("p99 of /ping, receiver hangs / answers", median(hung) / median(traced), 1.1, "x", detail)


def _in_turn(sides: dict[str, Side], turn: int) -> list[Side]:
    """Every other round backwards, so that none has the better place."""
    return list(sides.values())[:: -1 if turn % 2 else 1]


def _load() -> str:
    return f"machine's load at the end {os.getloadavg()[0]:.1f}"
