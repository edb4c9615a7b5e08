"""The registry with many members: what etcd, an instance and a resolver cost, and how soon a new instance is known."""

import json
import queue
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psutil

from bench.crowd import MEASURED, SERVICE
from bench.processes import free_port
from bench.rates import Extent
from bench.report import Figure, at_most, fact
from run.etcd import etcd
from service_kit.registry import DEFAULT_PREFIX, EtcdConfig, Instance, key
from service_kit.registry.etcd import Client

INSTANCES, RESOLVERS = 200, 50
INSTANCES_IN_A_PROCESS, RESOLVERS_IN_A_PROCESS = 50, 10
SHORT_BY = 20
"""How many times smaller everything is in a short run."""
TIMEOUT = 120.0
SETTLED = 5.0
"""Seconds after which everybody knows those that appeared at once."""


class _Crowd:
    """A process of bench.crowd."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "bench.crowd", *map(str, arguments)]
        self._process = psutil.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        self.told("ready")

    def _read(self) -> None:
        for line in self._process.stdout:
            self._lines.put(json.loads(line))

    def told(self, fact: str) -> dict[str, Any]:
        """Wait for the next line that has this fact.

        Raises:
            RuntimeError: when none comes.
        """
        deadline = time.monotonic() + TIMEOUT
        while (left := deadline - time.monotonic()) > 0:
            try:
                line = self._lines.get(timeout=left)
            except queue.Empty:
                break
            if fact in line:
                return line
        raise RuntimeError(f"nobody said {fact!r} in {TIMEOUT:g} s")

    def ask(self, question: str) -> dict[str, Any]:
        """Ask for a fact."""
        self._process.stdin.write(f"{question}\n")
        self._process.stdin.flush()
        return self.told(question)

    def cpu_seconds(self) -> float:
        """The processor time that it has used."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def leave(self) -> None:
        """End it in order."""
        self._process.stdin.close()
        self._process.wait(30)


@contextmanager
def _crowds(kind: str, address: str, count: int, size: int, *more: object, first: int = 0) -> Iterator[list[_Crowd]]:
    crowds: list[_Crowd] = []
    try:
        for part in range(0, count, size):
            crowds.append(_Crowd(kind, address, first + part, min(size, count - part), *more))  # noqa: PERF401  # ends them if one fails
        yield crowds
    finally:
        for crowd in crowds:
            crowd.leave()


def measure(folder: Path, extent: Extent) -> list[Figure]:
    """Let instances and resolvers be, let instances appear one by one, and then a quarter more of them at once."""
    by = 1 if extent.rounds > 1 else SHORT_BY
    instances, resolvers = INSTANCES // by, max(RESOLVERS // by, 2)
    with ExitStack() as stack:
        port = free_port()
        process = psutil.Process(stack.enter_context(etcd(port, folder, give_up=lambda: False)).pid)
        address = f"127.0.0.1:{port}"
        client = stack.enter_context(Client(EtcdConfig((address,), timeout=10), address))
        members = stack.enter_context(_crowds("registrars", address, instances, max(INSTANCES_IN_A_PROCESS // by, 1)))
        watching = stack.enter_context(_crowds("resolvers", address, resolvers, RESOLVERS_IN_A_PROCESS, instances))

        def used() -> tuple[float, float, float, float]:
            of_etcd = process.cpu_times()
            return (
                time.monotonic(),
                of_etcd.user + of_etcd.system,
                sum(crowd.cpu_seconds() for crowd in members),
                sum(crowd.cpu_seconds() for crowd in watching),
            )

        before = used()
        time.sleep(extent.rounds * extent.seconds)
        seconds, of_etcd, of_members, of_watching = (after - was for after, was in zip(used(), before, strict=True))
        taken = [each for _ in range(extent.rounds * 4) for each in _appear(client, watching, resolvers)]
        known = _changes(watching)
        newcomers = max(instances // 4, 2)
        stack.enter_context(_crowds("registrars", address, newcomers, newcomers, first=instances))
        time.sleep(SETTLED)
        rebuilt = max(after - was for after, was in zip(_changes(watching), known, strict=True))
    p99 = quantiles(taken, n=100, method="inclusive")[98]
    size = f"{instances} instances, {resolvers} resolvers"
    return [
        at_most("key in etcd to a resolver: p99", p99 * 1e3, 100, "ms", f"median {median(taken) * 1e3:.1f} ms, {size}"),
        fact("etcd at rest", of_etcd / seconds * 100, "% of a core", f"{size}; etcd does not fsync"),
        fact("an instance at rest", of_members / seconds / instances * 100, "% of a core"),
        fact("a resolver at rest", of_watching / seconds / resolvers * 100, "% of a core"),
        fact("channels rebuilt", rebuilt, "times", f"when {newcomers} instances appear at once, by the worst resolver"),
    ]


def _appear(client: Client, watching: list[_Crowd], resolvers: int) -> list[float]:
    """Let an instance appear, and return the seconds until each resolver knew."""
    lease = 1 + secrets.randbelow(2**62)
    client.grant(lease, 600)
    instance = Instance(f"{MEASURED}{1 + secrets.randbelow(250)}:{1024 + secrets.randbelow(60_000)}")
    appeared = time.monotonic()
    client.put(key(DEFAULT_PREFIX, SERVICE, instance.address), instance.encode(), lease, unchanged_since=0)
    taken: list[float] = []
    for number, crowd in enumerate(watching):
        own = min(RESOLVERS_IN_A_PROCESS, resolvers - number * RESOLVERS_IN_A_PROCESS)
        taken += [crowd.told("address")["at"] - appeared for _ in range(own)]
    client.revoke(lease)
    return taken


def _changes(watching: list[_Crowd]) -> list[int]:
    return [count for crowd in watching for count in crowd.ask("changes")["changes"]]
