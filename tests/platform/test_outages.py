"""etcd goes away and comes back while requests go on through gRPC and the database."""

from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.parts.etcd import Etcd
from tests.parts.platform import Platform
from tests.parts.process import Process
from tests.parts.traffic import Traffic, post
from tests.parts.wait import wait_until
from tests.platform.conftest import account

BACK_WITHIN = 5.0
"""Seconds from etcd's being able to take it to an instance's being registered again."""


@pytest.fixture
def own_etcd() -> Iterator[Etcd]:
    with Etcd() as etcd:
        yield etcd


def outage(platform: Platform, kind: str, seconds: float) -> None:
    """Let etcd be away for `seconds` of steady traffic, and see everyone answered and the instance back."""
    etcd = platform.etcd
    with platform.client() as client:
        assert client.post("/api/register", json=account()).status_code == 200
    with Traffic(post(platform.url, "/api/register", account()), rate=10) as traffic:
        traffic.wait_for(5)
        held = platform.keys
        etcd.suspend() if kind == "hung" else etcd.kill()
        traffic.wait_seconds(seconds)
        if kind == "hung":
            etcd.resume()
        else:
            if kind == "wiped":
                etcd.wipe()
            etcd.start()
        wait_until(lambda: registered(platform), BACK_WITHIN, what="the instance to be registered under a live lease")
        wait_until(lambda: etcd.leases() == set(platform.keys.values()), 15, what="leases of former attempts to go")
        traffic.wait_for(10)
        assert registered(platform)
        assert platform.keys.keys() == held.keys()
    assert not traffic.others(409), traffic.summary


def registered(platform: Platform) -> bool:
    leases = platform.etcd.leases()
    return bool(platform.keys) and all(lease in leases for lease in platform.keys.values())


@pytest.mark.parametrize("kind", ["killed", "wiped", "hung"])
def test_everyone_is_answered_during_an_outage(
    own_etcd: Etcd, make_platform: Callable[..., Platform], kind: str
) -> None:
    outage(make_platform(own_etcd, env={"REGISTRY_TTL": "1"}), kind, 3)


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("kind", "seconds"), [("killed", 65.0), ("wiped", 65.0), ("hung", 30.0)])
def test_everyone_is_answered_during_a_long_outage(
    own_etcd: Etcd, make_platform: Callable[..., Platform], kind: str, seconds: float
) -> None:
    """The lease has its default length here, and all that waits for etcd leaves the cores to those who ask."""
    platform = make_platform(own_etcd, env={"REGISTRY_TTL": "10"})
    processes = [*platform.users, *platform.gateways]
    before = sum(busy(process) for process in processes)
    outage(platform, kind, seconds)
    assert sum(busy(process) for process in processes) - before < 0.3 * seconds


def busy(process: Process) -> float:
    """The seconds of a core that a process has used."""
    times = psutil.Process(process.pid).cpu_times()
    return times.user + times.system
