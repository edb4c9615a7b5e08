"""What pods ask for is what they use."""

from conftest import Record
from support.cluster import wait_until
from support.platform import Platform
from support.usage import MIB, Container, Usage, requested

SECONDS = 30

STEADY = {"register": 2.0, "login": 4.0, "profile": 30.0}
"""Requests a second."""


def test_requests_cover_what_is_used(platform: Platform, figures: Record) -> None:
    """Memory under traffic, and the cores that are in use when there is none."""
    pods = [pod for name in platform.replicas for pod in platform.namespace.live(name)]
    memory = {name: value / MIB for pod in pods for name, value in requested(pod, "memory").items()}
    cores = {name: value for pod in pods for name, value in requested(pod, "cpu").items()}

    def average(usage: Usage) -> dict[Container, float]:
        wait_until(lambda: usage.cores().keys() >= cores.keys(), 60, what="a measurement of each container")
        return usage.cores()

    with platform.traffic(**STEADY) as traffic:
        busy = Usage(platform.namespace)
        traffic.wait_seconds(SECONDS)
        held, used = busy.memory(), average(busy)
    assert traffic.lost() == []
    rest: dict[Container, float] = {}

    def are_covered() -> bool:
        rest.update(average(Usage(platform.namespace)))
        return all(rest[name] <= cores[name] for name in cores)

    # What an installation or the traffic has left to do ends some time after it.
    wait_until(are_covered, 150, what="pods at rest to use no more cores than they ask for")

    for pod, container in sorted(memory):
        name = pod, container
        figures(
            f"{pod}, {container}",
            f"{held[name]:.0f} MiB and {used[name]:.2f} cores in traffic, {rest[name]:.3f} cores at rest; "
            f"asks for {memory[name]:.0f} MiB and {cores[name]:.2f} cores",
        )
    assert {name: held[name] for name in memory if held[name] > memory[name]} == {}
