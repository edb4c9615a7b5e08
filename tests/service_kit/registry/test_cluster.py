"""Three members of etcd, of which any one may be lost."""

import pytest

from service_kit.registry import EtcdConfig, Resolver
from tests.service_kit.registry.harness import RegistrarHarness
from tests.support.etcd import EtcdCluster
from tests.support.wait import wait_until


@pytest.mark.parametrize("hang", [False, pytest.param(True, marks=pytest.mark.faults)], ids=["killed", "hung"])
def test_one_member_is_lost(hang: bool) -> None:
    with EtcdCluster() as cluster:
        first = cluster.members[0]
        with RegistrarHarness(first, endpoints=tuple(cluster.endpoints), ttl=10) as harness:
            lease = harness.found.lease
            for lost, survivor in zip(cluster.members, cluster.members[1:] + cluster.members[:1], strict=True):
                harness.etcd = survivor
                lost.suspend() if hang else lost.kill()
                wait_until(lambda survivor=survivor: survivor.answers(), 20)  # type: ignore[misc]
                survivor.delete(harness.key)
                harness.back()
                lost.resume() if hang else lost.start()
                lost.wait_ready()
            assert harness.found.lease == lease
            assert harness.held == [True] + [False, True] * 3, "it is only the deleted key that was noticed"
            assert len(harness.reasons) == 4


@pytest.mark.faults
def test_two_members_are_lost_and_come_back(caplog: pytest.LogCaptureFixture) -> None:
    with EtcdCluster() as cluster:
        survivor, *others = cluster.members
        with RegistrarHarness(survivor) as harness:
            watching = Resolver(EtcdConfig((survivor.endpoint,)), "user", relist=600)
            watching.start()
            wait_until(lambda: watching.snapshot)
            caplog.clear()
            for member in others:
                member.kill()
            harness.away()
            wait_until(lambda: caplog.text.count("resolver: etcd cannot be reached") == 2, what="the watch to end, too")
            for member in others:
                member.start(wait=False)
            harness.back(timeout=20)
            watching.stop()
