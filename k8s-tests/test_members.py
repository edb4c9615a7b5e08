"""An etcd of three members, which demands users and passwords."""

import json
import re
import time
from collections.abc import Callable, Collection
from itertools import cycle
from typing import Any

import pytest
from conftest import Record
from support.base_images import loaded
from support.cluster import CommandError, Manifest, condition, ready_since, wait_until
from support.namespace import CHARTS, Namespace
from support.platform import SMALL, Platform
from support.release import HelmError
from support.usage import MIB, Container, Usage, requested

STEADY = {"register": 1.0, "login": 3.0, "profile": 2.0}
"""Requests a second."""

LOST_DATA = ("already been bootstrapped", "Was the raft log corrupted, truncated, or lost?")
"""What a member says whose data are gone: the second one when it could not reach the others in its first moment."""

CHANGED = ("removed from cluster", "added to cluster", "member not found", "already exist")
"""What etcdctl says of a change that was made; the last two when the answer of an earlier attempt was lost."""

VALUES: dict[str, Any] = {
    **SMALL,
    "etcd": {**SMALL["etcd"], "replicaCount": 3},
    "global": {"registry": {"auth": {"enabled": True}}},
}


@pytest.fixture(scope="module")
def three(new_namespace: Callable[..., Namespace]) -> Platform:
    """A platform with such an etcd, and one pod of each service."""
    platform = Platform(new_namespace(), VALUES)
    platform.install()
    return platform


def etcdctl(platform: Platform, user: str, *arguments: str, member: str = "vp-etcd-0") -> str:
    """Run etcdctl as a user, and return what it says, its refusals included."""
    login = [f"--user={user}:{platform.secret_values('vp-etcd')[f'{user}-password']}"] if user else []
    try:
        return platform.etcdctl(*login, *arguments, member=member)
    except CommandError as refusal:
        return str(refusal)


def test_each_may_do_its_work_and_no_more(three: Platform) -> None:
    three.release.test()
    prefix, record = "kitex/registry-etcd/user/", "kitex/registry-etcd/user/192.0.2.1:1"
    assert "user name is empty" in etcdctl(three, "", "get", "--prefix", prefix)
    address = three.namespace.live("user-svc")[0]["status"]["podIP"]
    assert address in etcdctl(three, "resolver", "get", "--prefix", prefix)
    assert "permission denied" in etcdctl(three, "resolver", "put", record, "{}")
    assert "permission denied" in etcdctl(three, "registrar", "put", "elsewhere", "{}")
    assert "permission denied" in etcdctl(three, "registrar", "user", "list")
    assert etcdctl(three, "root", "user", "list").split() == ["registrar", "resolver", "root"]


def page_steps(title: str) -> list[str]:
    """Return the blocks of commands below a title of docs/etcd.md."""
    page = (CHARTS.parent / "docs" / "etcd.md").read_text()
    (part,) = re.findall(rf"^## {title}\n(.*?)^## ", page, re.DOTALL | re.MULTILINE)
    return re.findall(r"```sh\n(.*?)```", part, re.DOTALL)


def states(three: Platform) -> dict[str, str]:
    """Return since when each pod of the services has been ready, once all are."""

    def ready() -> list[Manifest]:
        pods = [pod for name in ("user-svc", "gateway-svc") for pod in three.namespace.live(name)]
        return pods if all(condition(pod, "Ready") for pod in pods) else []

    return {pod["metadata"]["name"]: ready_since(pod) for pod in wait_until(ready, 60, what="the services to be ready")}


def restarts(three: Platform) -> dict[str, int]:
    """Return how often each pod of the services has been restarted."""
    counts = three.namespace.restarts()
    return {name: counts[name] for name in states(three)}


def test_one_member_away_is_not_noticed(three: Platform, figures: Record) -> None:
    before, restarted = states(three), restarts(three)
    with three.traffic(**STEADY) as traffic:
        three.namespace.delete("Pod", "vp-etcd-1", now=True)
        wait_until(lambda: len(ready_members(three)) == 2, 30, what="two members")
        three.namespace.wait_for_pods("etcd", 3)
        traffic.wait_for(30)
    figures("one of three members away", traffic.summary)
    assert traffic.lost() == []
    assert states(three) == before
    assert restarts(three) == restarted


def ready_members(three: Platform) -> list[str]:
    """Return the names of the members that are ready."""
    return [pod["metadata"]["name"] for pod in three.namespace.live("etcd") if condition(pod, "Ready")]


def test_larger_claims_restart_no_member(three: Platform, figures: Record) -> None:
    """By the lines of docs/etcd.md; the claims themselves grow only where their class lets them.

    Before anything restarts the members by hand, which leaves an annotation that the new StatefulSet does not have.
    """
    page = (CHARTS.parent / "docs" / "etcd.md").read_text()
    (steps,) = re.findall(r"## More space\n.*?```sh\n(.*?)```", page, re.DOTALL)
    loop, _, rest = steps.partition("done\n")
    classes = three.namespace.cluster.list_all("StorageClass")
    grows = any(each.get("allowVolumeExpansion") for each in classes)
    before = {pod["metadata"]["uid"] for pod in three.namespace.live("etcd")}
    try:
        with three.traffic(**STEADY) as traffic:
            three.namespace.shell(f"{loop}done\n{rest}" if grows else rest)
            traffic.wait_for(20)
        figures("etcd's claims made larger", traffic.summary)
        assert traffic.lost() == []
        assert {pod["metadata"]["uid"] for pod in three.namespace.live("etcd")} == before
        made = three.namespace.get("StatefulSet", "vp-etcd")
        assert made
        assert made["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "4Gi"
        assert {
            owner["uid"] for pod in three.namespace.live("etcd") for owner in pod["metadata"]["ownerReferences"]
        } == {made["metadata"]["uid"]}
    finally:
        three.namespace.shell(rest.replace("4Gi", "2Gi"))  # the upgrades of the tests after this one do not name a size


def test_rolling_the_members_is_not_noticed(three: Platform, figures: Record) -> None:
    before = states(three)
    old = {pod["metadata"]["uid"] for pod in three.namespace.live("etcd")}

    def rolled() -> bool:
        pods = three.namespace.pods("etcd")
        new = not old & {pod["metadata"]["uid"] for pod in pods}
        return new and len(pods) == 3 and all(condition(pod, "Ready") for pod in pods)

    with three.traffic(**STEADY) as traffic:
        three.namespace.restart("vp-etcd", kind="StatefulSet")
        wait_until(rolled, 180, what="three new members")
        traffic.wait_for(30)
    figures("three members rolled", traffic.summary)
    assert traffic.lost() == []
    assert states(three) == before


def test_member_that_lost_its_volume_is_replaced(three: Platform, figures: Record) -> None:
    """In the way of docs/etcd.md, step by step.

    There is no quorum while a second member restarts: if that takes 10 s, user services are not ready for a moment.
    """
    before = restarts(three)
    replacing = {**VALUES, "etcd": {**VALUES["etcd"], "initialClusterState": "existing"}}
    claim = "data-vp-etcd-1"
    with three.traffic(**STEADY) as traffic:
        three.namespace.delete("PersistentVolumeClaim", claim)
        three.namespace.delete("Pod", "vp-etcd-1", now=True)

        def refuses() -> bool:
            pod = three.namespace.get("Pod", "vp-etcd-1")
            return pod is not None and any(words in three.namespace.last_words(pod, "etcd") for words in LOST_DATA)

        wait_until(refuses, 60, what="a member that finds itself in the others' memory")
        three.release.upgrade(replacing, "--wait=false")
        (lost,) = (f"{member['ID']:x}" for member in members(three) if member["name"] == "vp-etcd-1")
        change_members(three, "remove", lost)
        three.namespace.delete("PersistentVolumeClaim", claim)
        three.namespace.delete("Pod", "vp-etcd-1", now=True)
        change_members(three, "add", "vp-etcd-1", "--peer-urls=http://vp-etcd-1.vp-etcd-peers:2380")
        began = time.monotonic()
        wait_until(lambda: rolled_to(three, "existing"), 180, what="three members")
        figures("a member's volume lost: seconds from its new claim to three ready members", time.monotonic() - began)
        three.release.upgrade(VALUES)
        wait_until(lambda: rolled_to(three, "new"), 180, what="three members as before")
        traffic.wait_for(30)
    assert len(members(three)) == 3
    assert traffic.lost() == []
    assert restarts(three) == before


def change_members(three: Platform, *arguments: str) -> None:
    """Remove or add a member, and ask the others, in turn, as long as one that restarts makes etcd refuse."""
    asked = cycle(("vp-etcd-0", "vp-etcd-2"))

    def done() -> bool:
        said = etcdctl(three, "root", "member", *arguments, member=next(asked))
        return any(words in said for words in CHANGED)

    wait_until(done, 120, what=f"member {arguments[0]}")


def members(three: Platform) -> list[Manifest]:
    """Return what the cluster knows of its members, once there is a quorum to ask."""

    def answer() -> str:
        said = etcdctl(three, "root", "member", "list", "--write-out=json")
        return said if said.startswith('{"header"') else ""

    found: list[Manifest] = json.loads(wait_until(answer, 60, what="a quorum"))["members"]
    return found


def rolled_to(three: Platform, state: str) -> bool:
    """Whether all members are ready, and configured in this way."""
    pods = three.namespace.pods("etcd")
    flag = f"--initial-cluster-state={state}"
    return len(pods) == 3 and all(
        condition(pod, "Ready") and flag in next(c for c in pod["spec"]["containers"] if c["name"] == "etcd")["args"]
        for pod in pods
    )


def test_member_requests_match_their_use(three: Platform, figures: Record) -> None:
    asked = {name: value for pod in three.namespace.live("etcd") for name, value in requested(pod, "memory").items()}
    held = wait_until(
        lambda: covering(Usage(three.namespace).memory(), asked), 60, what="a measurement of each container"
    )
    figures("etcd with passwords, MiB", {"/".join(name): round(held[name]) for name in sorted(asked)})
    assert {name: held[name] for name in asked if held[name] * MIB > asked[name]} == {}


def covering(measured: dict[Container, float], containers: Collection[Container]) -> dict[Container, float]:
    """Return what was measured, or nothing when it does not have all containers yet."""
    return measured if measured.keys() >= set(containers) else {}


def test_members_are_saved_and_defragmented(three: Platform, figures: Record) -> None:
    """By hand, as docs/etcd.md says; the schedule is Kubernetes' own."""
    on = {"snapshot": {"enabled": True}, "defragmentation": {"enabled": True}}
    three.release.upgrade({**VALUES, "etcd": {**VALUES["etcd"], **on}})
    page = (CHARTS.parent / "docs" / "etcd.md").read_text()
    (steps,) = re.findall(r"## Snapshots and defragmentation\n.*?```sh\nhelm.*?\n(kubectl.*?)```", page, re.DOTALL)
    with three.traffic(**STEADY) as traffic:
        said = three.namespace.shell(steps)
        traffic.wait_for(20)
    figures("etcd saved and defragmented", traffic.summary)
    assert said.count("Finished defragmenting") == 3
    assert ".db" in said
    assert traffic.lost() == []


def test_live_etcd_member_count_is_fixed(three: Platform) -> None:
    values = {**VALUES, "etcd": SMALL["etcd"]}
    with pytest.raises(HelmError, match=r"replicaCount is 1, and the running etcd has 3.* docs/etcd\.md has the steps"):
        three.release.upgrade(values)


@pytest.mark.parametrize("auth", [False, True], ids=["without passwords", "with passwords"])
def test_one_member_becomes_three_with_no_request_lost(
    new_namespace: Callable[..., Namespace], figures: Record, auth: bool
) -> None:
    """By the lines of docs/etcd.md."""
    values = {**SMALL, "global": {"registry": {"auth": {"enabled": auth}}}}
    platform = Platform(new_namespace(), values)
    platform.install()
    page = (CHARTS.parent / "docs" / "etcd.md").read_text()
    (steps,) = re.findall(r"## From one member to three\n.*?```sh\n(.*?)```", page, re.DOTALL)
    with pytest.raises(HelmError, match=r"replicaCount is 3, and the running etcd has 1.*'From one member to three'"):
        platform.release.upgrade({**values, "etcd": {**SMALL["etcd"], "replicaCount": 3}})
    with platform.traffic(**STEADY) as traffic:
        traffic.wait_for(20)
        began = time.monotonic()
        platform.namespace.shell(steps)
        platform.namespace.wait_for_pods("user-svc", 1)  # ready again, which takes a lease
        figures(f"one member becomes three, auth {auth}: seconds", time.monotonic() - began)
        traffic.wait_for(30)
    figures(f"one member becomes three, auth {auth}", traffic.summary)
    assert traffic.lost() == []
    assert len(ready_members(platform)) == 3


def test_tls_of_three_live_members_cannot_be_changed(three: Platform) -> None:
    values = {**VALUES, "global": {**VALUES["global"], "tls": {"enabled": True}}}
    with pytest.raises(HelmError, match=r"docs/tls-charts\.md has the steps under 'Turn it on in a live release'"):
        three.release.upgrade(values)


@pytest.mark.faults
@pytest.mark.parametrize("image", ["etcd-next-patch", "etcd-next-minor"])
def test_another_version_and_back_lose_no_request(three: Platform, figures: Record, image: str) -> None:
    """By the lines of docs/etcd.md."""
    tag = loaded(image, three.namespace.cluster).rpartition(":")[2]
    steps = [
        step.replace("PASSWORD", three.secret_values("vp-etcd")["root-password"]) for step in page_steps("Upgrade etcd")
    ]
    upgrade, downgrade = re.sub(r"(etcd\.image\.tag)=\S+", rf"\1={tag}", steps[0]), steps[1]
    before, registered, first = versions(three), registrations(three), three.release.revision()
    with three.traffic(**STEADY) as traffic:
        unnoticed = states(three)
        began = time.monotonic()
        assert three.namespace.shell(upgrade).count(f", {tag[1:]}, ") == 3
        figures(f"etcd upgraded to {tag}: seconds", time.monotonic() - began)
        assert states(three) == unnoticed
        assert registrations(three) == registered
        three.namespace.restart("vp-user-svc")
        three.namespace.wait_for_rollout("vp-user-svc")  # ready by a registration with the other version
        traffic.wait_for(20)

        unnoticed = states(three)
        if image == "etcd-next-minor":
            newer = three.release.revision()
            three.release.helm("rollback", "vp", str(first))
            wait_until(lambda: refuses_newer_data(three), 120, what="a member that does not take the newer data")
            traffic.wait_for(20)
            assert len(ready_members(three)) == 2
            three.release.rollback(newer)
            three.namespace.shell(downgrade)
            data = {version for _, version in before}
            wait_until(
                lambda: {version for _, version in versions(three)} == data, 60, what="data of the older version"
            )
        began = time.monotonic()
        three.release.rollback(first)
        figures(f"etcd back from {tag}: seconds", time.monotonic() - began)
        assert versions(three) == before
        assert states(three) == unnoticed
        traffic.wait_for(20)
    figures(f"etcd upgraded to {tag} and back", traffic.summary)
    assert traffic.lost() == []


def versions(three: Platform) -> list[tuple[str, str]]:
    """Return the version of each member and that of its data."""
    user = f"--user=root:{three.secret_values('vp-etcd')['root-password']}"
    found = []
    for pod in three.namespace.live("etcd"):
        command = ("etcdctl", user, "endpoint", "status", "--write-out=json")
        (member,) = json.loads(three.namespace.execute(pod["metadata"]["name"], *command))
        found.append((member["Status"]["version"], member["Status"]["storageVersion"]))
    return found


def registrations(three: Platform) -> str:
    """Return the addresses of the registered instances."""
    return etcdctl(three, "resolver", "get", "--prefix", "kitex/registry-etcd/user/", "--keys-only")


def refuses_newer_data(three: Platform) -> bool:
    """Whether the last member, which a rollback replaces first, does not start."""
    pod = three.namespace.get("Pod", "vp-etcd-2")
    return (
        pod is not None
        and re.search(r"version .*? is not supported", three.namespace.last_words(pod, "etcd")) is not None
    )
