"""Requests per processor second of the servers that are compared, in interleaved rounds.

A server that is pinned to a core and kept busy answers as many a second. Where it waits for the user service, which
shares a core with the client, only its own processor time can be compared.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeVar

from bench import wrk
from bench.processes import Service

T = TypeVar("T")

UNIT = "requests per processor second"
LEAST_SHARE = 0.1
"""Of a core; processor time is counted in hundredths of a second, and little of it says nothing."""


class Extent(NamedTuple):
    """How much is measured."""

    rounds: int
    seconds: int
    """Of load, in each round, on each side."""


def in_turn(sides: Mapping[str, T], rounds: int) -> Iterator[tuple[str, T]]:
    """Each side once a round; every other round backwards, so that none has the better place."""
    for turn in range(rounds):
        yield from list(sides.items())[:: -1 if turn % 2 else 1]


def measure(sides: Mapping[str, Service], request: wrk.Request, folder: Path, extent: Extent) -> dict[str, list[float]]:
    """Load one side after the other with `request`; returns the rate of each round, by side.

    Raises:
        RuntimeError: when other processes had the cores.
    """
    rates: dict[str, list[float]] = {name: [] for name in sides}
    sent = dict.fromkeys(sides, 0)
    for name, service in in_turn(sides, extent.rounds):
        rate, requests = load(service, request, folder, extent, first_token=sent[name])
        rates[name].append(rate)
        sent[name] += requests
    return rates


def load(
    service: Service, request: wrk.Request, folder: Path, extent: Extent, *, first_token: int = 0
) -> tuple[float, int]:
    """Load a server for one round; returns its rate and how many requests it answered.

    Raises:
        RuntimeError: when other processes had the cores.
    """
    before = service.cpu_seconds()
    seen = wrk.run(service.url, request, folder, seconds=extent.seconds, first_token=first_token)
    used = service.cpu_seconds() - before
    if used < seen.seconds * LEAST_SHARE:
        raise RuntimeError(f"{service.url} got a core for {used:.2f} of {seen.seconds:.1f} s; use an idle machine")
    service.take_log()
    return seen.requests / used, seen.requests


def compare(
    ours: Sequence[float], theirs: Sequence[float], of: Callable[[float, float], float] = lambda x, y: x / y
) -> tuple[float, str]:
    """The median of what `of` makes of each round's two rates, and the details of it."""
    results = [of(*pair) for pair in zip(ours, theirs, strict=True)]
    spread = f"{len(results)} rounds {min(results):.2f}-{max(results):.2f}"
    return median(results), f"{median(ours):,.0f} against {median(theirs):,.0f} {UNIT}; {spread}"
