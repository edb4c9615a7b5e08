"""etcd stops and comes back while requests go on through gRPC and the database."""

from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.platform.conftest import account
from tests.support.etcd import Etcd, EtcdCluster
from tests.support.platform import Platform
from tests.support.process import Process
from tests.support.traffic import Traffic, post
from tests.support.wait import wait_until

BACK_WITHIN = 5.0
"""Seconds from etcd's being able to take it to an instance's being registered again."""


@pytest.fixture
def own_etcd() -> Iterator[Etcd]:
    with Etcd() as etcd:
        yield etcd


def outage(platform: Platform, kind: str, seconds: float) -> None:
    """Stop etcd for `seconds` of steady traffic, and see everyone answered and the instance back."""
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


def test_registration_faults_fail_no_request(own_etcd: Etcd, make_platform: Callable[..., Platform]) -> None:
    platform = make_platform(own_etcd)
    (address,) = platform.keys
    key = f"{platform.prefix}/user/{address}"

    def is_back() -> bool:
        held = own_etcd.keys(key).get(key)
        return held is not None and held.lease != 0 and b'"network"' in held.value

    faults: list[Callable[[], object]] = [
        lambda: own_etcd.delete(key),
        lambda: own_etcd.revoke(platform.keys[address]),
        lambda: own_etcd.put(key, "no record"),
        lambda: own_etcd.put(f"{platform.prefix}/user/nobody", b"\xff"),
        own_etcd.compact,
    ]
    with platform.client() as client:
        assert client.post("/api/register", json=account()).status_code == 200
    with Traffic(post(platform.url, "/api/register", account()), rate=10) as traffic:
        for fault in faults:
            traffic.wait_for(3)
            fault()
            wait_until(is_back, BACK_WITHIN, what="the instance to be registered under a lease")
        wait_until(lambda: set(platform.keys.values()) >= own_etcd.leases(), 15, what="former leases to go")
        traffic.wait_for(5)
    assert not traffic.others(409), traffic.summary


def test_everyone_is_answered_when_tokens_of_etcd_expire(make_platform: Callable[..., Platform]) -> None:
    with Etcd("--auth-token-ttl=1", "--bcrypt-cost=4") as etcd:
        platform = make_platform(etcd, env={"ETCD_USERNAME": "registry", "ETCD_PASSWORD": "a-password-of-etcd"})
        with platform.client() as client:
            assert client.post("/api/register", json=account()).status_code == 200
        with Traffic(post(platform.url, "/api/register", account()), rate=10) as traffic:
            etcd.enable_auth("of-root", {"registry": ("a-password-of-etcd", "readwrite", f"{platform.prefix}/")})
            traffic.wait_seconds(4)  # several lives of a token
            wait_until(lambda: _seen_by_root(etcd, platform), BACK_WITHIN, what="the instance to be registered")
            traffic.wait_for(5)
        assert not traffic.others(409), traffic.summary
        assert "a-password-of-etcd" not in platform.output


def _seen_by_root(etcd: Etcd, platform: Platform) -> bool:
    etcd.authenticate("of-root")
    return registered(platform)


def test_losing_one_of_three_members_fails_no_request(make_platform: Callable[..., Platform]) -> None:
    with EtcdCluster() as cluster:
        lost, *rest = cluster.members
        platform = make_platform(rest[0], env={"ETCD_ADDRESS": ",".join(cluster.endpoints)})
        with platform.client() as client:
            assert client.post("/api/register", json=account()).status_code == 200
        with Traffic(post(platform.url, "/api/register", account()), rate=10) as traffic:
            traffic.wait_for(5)
            lost.kill()
            traffic.wait_seconds(4)  # longer than a lease lives
            wait_until(lambda: registered(platform), BACK_WITHIN, what="the instance to be registered")
            traffic.wait_for(5)
        assert not traffic.others(409), traffic.summary


@pytest.mark.faults
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
