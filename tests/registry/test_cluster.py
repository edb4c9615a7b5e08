"""Three members of etcd, of which any one may be lost."""

import pytest

from registry import EtcdConfig, Resolver
from tests.parts.etcd import EtcdCluster
from tests.parts.wait import wait_until
from tests.registry.scene import Scene


@pytest.mark.parametrize("hang", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["killed", "hung"])
def test_one_member_is_lost(hang: bool) -> None:
    with EtcdCluster() as cluster:
        first = cluster.members[0]
        with Scene(first, endpoints=tuple(cluster.endpoints), ttl=10) as scene:
            lease = scene.found.lease
            for lost, survivor in zip(cluster.members, cluster.members[1:] + cluster.members[:1], strict=True):
                scene.etcd = survivor
                lost.suspend() if hang else lost.kill()
                wait_until(lambda survivor=survivor: survivor.answers(), 20)  # type: ignore[misc]
                survivor.delete(scene.key)
                scene.back()
                lost.resume() if hang else lost.start()
            assert scene.found.lease == lease
            assert scene.held == [True] + [False, True] * 3, "it is only the deleted key that was noticed"
            assert len(scene.reasons) == 4


@pytest.mark.soak
def test_two_members_are_lost_and_come_back(caplog: pytest.LogCaptureFixture) -> None:
    with EtcdCluster() as cluster:
        survivor, *others = cluster.members
        with Scene(survivor) as scene:
            watching = Resolver(EtcdConfig((survivor.endpoint,)), "user", relist=600)
            watching.start()
            wait_until(lambda: watching.snapshot)
            caplog.clear()
            for member in others:
                member.kill()
            scene.away()
            wait_until(lambda: caplog.text.count("resolver: etcd cannot be reached") == 2, what="the watch to end, too")
            for member in others:
                member.start(wait=False)
            scene.back(timeout=20)
            watching.stop()
