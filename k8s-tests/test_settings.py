"""Settings that are wrong: a malformed one ends the process, a peer or a password that is wrong is waited for."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from support.cluster import Manifest, condition, wait_until
from support.platform import Platform
from support.release import Release

from tests.support.wait import stays

WRONG_PASSWORD = "a-password-that-nobody-has"
SHORT_KEY = "8 bytes!"

SMALL = {"replicaCount": 1, "resources": {"requests": {"cpu": "20m"}}}
NO_STORES = {"etcd": {"enabled": False}, "mysql": {"enabled": False}}
APART = {"address": "vp-etcd:2379", "service": "apart"}
"""The platform's etcd, under another name: its gateways must not find these pods."""


@dataclass
class Case:
    """A release with something wrong in it."""

    name: str
    chart: str
    values: dict[str, Any]


CASES = {
    case.name: case
    for case in (
        Case(
            "malformed",
            "user-svc",
            {
                **NO_STORES,
                "global": {
                    "registry": APART,
                    "database": {"host": "vp-mysql", "existingSecret": "wrong", "parameters": {"sslmod": "off"}},
                },
            },
        ),
        Case(
            "short",
            "gateway-svc",
            {"etcd": {"enabled": False}, "jwt": {"existingSecret": "wrong"}, "global": {"registry": APART}},
        ),
        Case(
            "denied",
            "user-svc",
            {
                **NO_STORES,
                "global": {
                    "registry": APART,
                    "database": {"host": "vp-mysql", "username": "late", "existingSecret": "wrong"},
                },
            },
        ),
        Case(
            "nowhere",
            "user-svc",
            {
                **NO_STORES,
                "global": {
                    "registry": {**APART, "address": "no-etcd:2379"},
                    "database": {"host": "no-mysql", "existingSecret": "vp-mysql"},
                },
            },
        ),
    )
}


@pytest.fixture(scope="module")
def wrong(installed: Platform) -> Iterator[Platform]:
    """All of these releases, beside the platform."""
    namespace = installed.namespace
    values = {"password": WRONG_PASSWORD, "jwt-secret": SHORT_KEY}
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    namespace.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "wrong"}, "data": data})
    releases = [Release(namespace, case.name, case.chart) for case in CASES.values()]
    for release, case in zip(releases, CASES.values(), strict=True):
        release.install({**SMALL, **case.values}, "--wait=false")
    yield installed
    for release in releases:
        release.uninstall()
    namespace.delete("Secret", "wrong")


def pod_of(platform: Platform, case: str) -> Manifest:
    """Return the one pod of a case."""
    (pod,) = platform.namespace.pods(CASES[case].chart, release=case)
    return pod


@pytest.mark.parametrize(
    ("case", "variable", "secret"), [("malformed", "DB_DSN", WRONG_PASSWORD), ("short", "JWT_SECRET", SHORT_KEY)]
)
def test_malformed_setting_ends_the_process(wrong: Platform, case: str, variable: str, secret: str) -> None:
    def ended() -> Manifest:
        status = pod_of(wrong, case)["status"].get("containerStatuses", [{}])[0]
        state: Manifest = status.get("state", {}).get("terminated") or status.get("lastState", {}).get("terminated")
        return state

    state = wait_until(ended, 60, what="the end of the process")
    assert state["exitCode"] == 2
    # while its container is replaced, the node has no log of either
    said = wait_until(lambda: wrong.namespace.last_words(pod_of(wrong, case)), 30, what="the log")
    assert variable in said.splitlines()[0]
    assert secret not in said


def warnings(platform: Platform, case: str, sentence: str) -> list[Manifest]:
    """Return a pod's log lines that contain a text."""
    pod = pod_of(platform, case)
    if not pod["status"].get("containerStatuses", [{}])[0].get("started"):
        return []
    return [line for line in platform.namespace.events_of(pod["metadata"]["name"]) if sentence in line["message"]]


DATABASE = "DB_DSN: the database cannot be used"
ETCD = "etcd cannot be reached at ETCD_ADDRESS"


def still_waits(platform: Platform, case: str, most: dict[str, int]) -> bool:
    """Whether a pod runs, was never restarted, is not ready, and has not said each sentence more often than that."""
    pod = pod_of(platform, case)
    told = all(len(warnings(platform, case, sentence)) <= count for sentence, count in most.items())
    restarts = platform.namespace.restarts()[pod["metadata"]["name"]]
    return not condition(pod, "Ready") and restarts == 0 and told


def test_refused_password_is_told_once_and_tried_again(wrong: Platform) -> None:
    """A refused connection may come before it: MySQL's policy lets a new pod through a moment later."""

    def told() -> list[Manifest]:
        lines = warnings(wrong, "denied", DATABASE)
        return lines if any("Access denied for user 'late'" in line["cause"] for line in lines) else []

    *before, line = wait_until(told, 60, what="the refusal")
    assert "Access denied for user 'late'" in line["cause"]
    assert not [line for line in before if "Access denied" in line["cause"]]
    # it asks once a second
    stays(lambda: still_waits(wrong, "denied", {DATABASE: len(before) + 1}), 5)
    sql = f"CREATE USER late IDENTIFIED BY '{WRONG_PASSWORD}'; GRANT ALL ON video_platform.* TO late"
    root = 'mysql --defaults-file=<(printf "[client]\\npassword=%s\\n" "$(< $MYSQL_ROOT_PASSWORD_FILE)") --user=root'
    wrong.namespace.execute("vp-mysql-0", "bash", "-c", f'{root} --execute="{sql}"')
    wrong.namespace.wait_for_pods("user-svc", 1, 30, release="denied")
    pod = pod_of(wrong, "denied")["metadata"]["name"]
    assert wrong.namespace.restarts()[pod] == 0
    assert WRONG_PASSWORD not in wrong.namespace.log(pod)


def test_unreachable_peers_are_told_once_and_tried_again(wrong: Platform) -> None:
    (database,) = wait_until(lambda: warnings(wrong, "nowhere", DATABASE), 60, what="the sentence on MySQL")
    assert "no-mysql" in database["cause"]
    (etcd,) = wait_until(lambda: warnings(wrong, "nowhere", ETCD), 60, what="the sentence on etcd")
    assert "no-etcd:2379" in etcd["message"]
    stays(lambda: still_waits(wrong, "nowhere", {DATABASE: 1, ETCD: 1}), 5)
    for name in ("mysql", "etcd"):
        wrong.namespace.create(alias(f"no-{name}", f"vp-{name}.{wrong.namespace.name}.svc.cluster.local"))
    try:
        wrong.namespace.wait_for_pods("user-svc", 1, 60, release="nowhere")
    finally:
        for name in ("mysql", "etcd"):
            wrong.namespace.delete("Service", f"no-{name}")
    pod = pod_of(wrong, "nowhere")["metadata"]["name"]
    assert wrong.namespace.restarts()[pod] == 0


def alias(name: str, target: str) -> Manifest:
    """Return a Service that is another name of a host."""
    spec = {"type": "ExternalName", "externalName": target}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
