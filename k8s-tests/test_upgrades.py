"""What an operator does to a release in its life: secrets, users and tokens stay."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Record
from support.cluster import Manifest, wait_until
from support.namespace import Namespace
from support.platform import SMALL, VALUES, Platform
from support.release import HelmError, Release
from support.versions import NEXT, later_charts, migration_file, with_migration

SECRETS = ("vp-gateway-svc-jwt", "vp-mysql")

STEADY = {"register": 2.0, "login": 4.0, "profile": 30.0}
"""Requests a second: those without a hash are cheap, and many, so that a gap of a tenth of a second is seen."""


def on_user_service(**values: Any) -> dict[str, Any]:
    return {**VALUES, "user-svc": {**VALUES["user-svc"], **values}}


@dataclass
class Possessions:
    """What must outlive whatever is done to a release."""

    platform: Platform
    user: str
    token: str
    secrets: list[dict[str, str]]
    stores: set[str]

    @classmethod
    def of(cls, platform: Platform) -> "Possessions":
        user = platform.register()
        secrets = [platform.namespace.secret(name) for name in SECRETS]
        return cls(platform, user, platform.login(user), secrets, _stores(platform))

    def check(self, *, same_stores: bool = True) -> None:
        """Hold the release to it: nothing was lost, and a new user can register."""
        assert [self.platform.namespace.secret(name) for name in SECRETS] == self.secrets
        assert self.platform.profile(self.token)["status"] == 200
        self.platform.login(self.user)
        self.platform.login(self.platform.register())
        assert (_stores(self.platform) == self.stores) == same_stores


def _stores(platform: Platform) -> set[str]:
    return {pod["metadata"]["uid"] for name in ("etcd", "mysql") for pod in platform.namespace.live(name)}


def images(platform: Platform) -> set[str]:
    """Return the tags of the services' images that run."""
    pods = [pod for name in ("user-svc", "gateway-svc") for pod in platform.namespace.live(name)]
    return {container["image"].rpartition(":")[2] for pod in pods for container in pod["spec"]["containers"]}


def test_three_upgrades_and_a_rollback(platform: Platform, figures: Record, tmp_path: Path) -> None:
    release, first = platform.release, platform.release.revision()
    had = Possessions.of(platform)
    before = images(platform)
    today = release.chart
    later = later_charts(tmp_path)

    with platform.traffic(**STEADY) as traffic:
        release.upgrade(VALUES, chart=later)
        platform.wait_until_whole()
        assert images(platform) == {NEXT} != before
        traffic.wait_for(60)
        figures("upgraded to a new tag", traffic.summary)
        assert traffic.lost() == []
        had.check()

        platform.namespace.create(migration_file())
        release.upgrade(on_user_service(**with_migration()))
        assert any("schema upgraded" in log for log in user_service_logs(platform))
        had.check()

        release.upgrade(on_user_service(**with_migration(), drainDelaySeconds=3, log={"level": "DEBUG"}))
        had.check()

        release.rollback(first)
        release.chart = today
        platform.wait_until_whole()
        assert images(platform) == before
        # a version that does not know the schema of the later one goes on
        assert all("the schema is newer than this version of the service" in log for log in user_service_logs(platform))
        had.check()
        traffic.wait_for(60)
    figures("three upgrades and a rollback", traffic.summary)
    assert traffic.lost() == []
    restarts = platform.namespace.restarts()
    pods = [pod for name in ("user-svc", "gateway-svc") for pod in platform.namespace.live(name)]
    assert [restarts[pod["metadata"]["name"]] for pod in pods] == [0, 0, 0, 0]


def user_service_logs(platform: Platform) -> list[str]:
    """Return what each user service has written."""
    return [platform.namespace.log(pod["metadata"]["name"]) for pod in platform.namespace.live("user-svc")]


KINDS = (
    "ConfigMap",
    "Deployment",
    "NetworkPolicy",
    "PersistentVolumeClaim",
    "Pod",
    "PodDisruptionBudget",
    "Secret",
    "Service",
    "ServiceAccount",
    "StatefulSet",
)


def inventory(namespace: Namespace) -> set[str]:
    """Return the names of all that is in a namespace, but for what Kubernetes and these tests put there."""
    found = {f"{kind}/{item['metadata']['name']}" for kind in KINDS for item in namespace.list_all(kind)}
    return found - {"ConfigMap/kube-root-ca.crt", "ServiceAccount/default", "Pod/client-pod", "ConfigMap/migration"}


def test_uninstall_and_install_again(platform: Platform) -> None:
    had = Possessions.of(platform)
    assert "Deployment/vp-user-svc" in inventory(platform.namespace)
    platform.release.uninstall()
    left = {f"Secret/{name}" for name in SECRETS}
    left |= {"PersistentVolumeClaim/data-vp-etcd-0", "PersistentVolumeClaim/data-vp-mysql-0"}
    wait_until(lambda: inventory(platform.namespace) == left, 60, what="nothing but volumes and kept secrets")
    platform.install()
    platform.wait_until_whole()
    had.check(same_stores=False)


@pytest.fixture(scope="module")
def other(new_namespace: Callable[..., Namespace]) -> Namespace:
    """A namespace for a release that goes wrong."""
    return new_namespace()


def test_broken_first_version_recovers_by_an_upgrade(other: Namespace) -> None:
    broken = {name: {**values, "image": {"tag": "there-is-none"}} for name, values in SMALL.items()}
    release = Release(other)
    with pytest.raises(HelmError):
        release.install(broken, timeout=10)
    secrets = [other.secret(name) for name in SECRETS]
    release.upgrade(SMALL, timeout=300)
    assert [other.secret(name) for name in SECRETS] == secrets
    release.test()


def test_lost_secret_is_refused_and_not_made_anew(other: Namespace) -> None:
    release = Release(other)
    values = other.secret("vp-mysql")
    other.delete("Secret", "vp-mysql")
    with pytest.raises(HelmError, match="the Secret vp-mysql is gone, and the running StatefulSet vp-mysql"):
        release.upgrade(SMALL)
    restored: Manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "vp-mysql"}, "data": values}
    other.create(restored)
    release.upgrade(SMALL)
    release.test()
