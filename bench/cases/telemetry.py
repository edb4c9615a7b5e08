"""What being observed costs the gateway: metrics, traces at 10 % and 1 % sampling, a receiver that hangs."""

import os
import socket
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from bench import rates, wrk
from bench.processes import CLIENT_CORE, CREDENTIALS, Service, gateway, service
from bench.rates import Extent, compare, in_turn
from bench.report import Figure, at_least, at_most
from bench.wrk import Request

TAILS = 3
"""A percentile of one round says little, and the machine changes from one second to the next: so many short rounds
take the place of one."""
FILLING = 4
"""Seconds in which more spans are made than the queue holds."""
FEW = 4
"""Connections that leave the gateway room, so that a percentile is of answers and not of the queue before them."""
PING = Request("/ping")


def measure(folder: Path, extent: Extent) -> list[Figure]:
    """Load gateways that differ in one thing in turn, round by round, and compare them with the one that is shipped."""
    with ExitStack() as stack:
        users = stack.enter_context(service("bench.users_stub", folder, core=CLIENT_CORE))
        receiver = stack.enter_context(service("bench.receiver", folder, core=CLIENT_CORE))
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))  # nothing accepts its connections

        def traced(share: float, port: int) -> Service:
            tracing = {
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
                "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": str(share),
            }
            return stack.enter_context(gateway(folder, users.target, tracing))

        both = {"shipped": stack.enter_context(gateway(folder, users.target)), "10 %": traced(0.1, receiver.port)}
        uncounted = stack.enter_context(gateway(folder, users.target, module="bench.without_metrics"))
        sides = both | {"uncounted": uncounted, "1 %": traced(0.01, receiver.port)}
        hung = traced(0.1, silent.getsockname()[1])

        ping = rates.measure(sides, PING, folder, extent)
        register = rates.measure(both, Request("/api/register", CREDENTIALS), folder, extent)
        figures = [
            _kept("GET /ping: with metrics / without", ping, "shipped", "uncounted", 0.95),
            _kept("GET /ping: with 10 % of traces / without", ping, "10 %", "shipped", 0.7),
            _kept("GET /ping: with 1 % of traces / without", ping, "1 %", "shipped", 0.92),
            _kept("POST /api/register: with 10 % of traces / without", register, "10 %", "shipped", 0.92),
        ]

        wrk.run(hung.url, PING, folder, seconds=FILLING)  # the queue is bounded, not empty
        before = hung.resident_mib()
        figures.append(_tail(both["10 %"], hung, folder, extent))
        load = f"machine's load at the end {os.getloadavg()[0]:.1f}"
        figures.append(at_most("receiver hangs: growth of the gateway", hung.resident_mib() - before, 2, "MiB", load))
        resident = both["10 %"].resident_mib()
        figures.append(at_most("gateway that traces, resident after this load", resident, 120, "MiB"))
        return figures


def _kept(name: str, measured: dict[str, list[float]], ours: str, theirs: str, goal: float) -> Figure:
    ratio, detail = compare(measured[ours], measured[theirs])
    return at_least(name, ratio, goal, detail=detail)


def _tail(answered: Service, hung: Service, folder: Path, extent: Extent) -> Figure:
    """Compare the slowest answers of gateways whose receivers take spans, and never answer."""
    p99: dict[str, list[float]] = {"answers": [], "hangs": []}
    for name, side in in_turn({"answers": answered, "hangs": hung}, extent.rounds * TAILS):
        p99[name].append(wrk.run(side.url, PING, folder, seconds=1, connections=FEW).p99_ms)
        side.take_log()
    answers, hangs = p99.values()
    detail = f"medians {median(hangs):.2f} against {median(answers):.2f} ms"
    detail += f", of {min(hangs):.2f}-{max(hangs):.2f} against {min(answers):.2f}-{max(answers):.2f}"
    # The machine's own pauses make one round in a few many times worse, on either side: rounds are no pairs here.
    return at_most("p99 of /ping, receiver hangs / answers", median(hangs) / median(answers), 1.1, "x", detail)
