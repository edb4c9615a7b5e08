"""No request is lost while pods come and go."""

import re
import time

import pytest
from conftest import Record
from support.cluster import condition, wait_until
from support.node import Node
from support.platform import Platform

STEADY = {"register": 2.0, "login": 4.0, "profile": 30.0}
"""Requests a second: those without a hash are cheap, and many, so that a gap of a tenth of a second is seen."""

SERVICES = ["user-svc", "gateway-svc"]


@pytest.mark.parametrize("name", SERVICES)
def test_restart(platform: Platform, figures: Record, name: str) -> None:
    old = {pod["metadata"]["uid"] for pod in platform.namespace.live(name)}
    with platform.traffic(**STEADY) as traffic:
        platform.namespace.restart(f"vp-{name}")
        platform.namespace.wait_for_rollout(f"vp-{name}")
        traffic.wait_for(60)
    figures(f"{name} restarted", traffic.summary)
    assert not old & {pod["metadata"]["uid"] for pod in platform.namespace.live(name)}
    assert traffic.lost() == []


@pytest.mark.parametrize("name", SERVICES)
def test_scale_to_one_to_three_to_one(platform: Platform, figures: Record, name: str) -> None:
    try:
        with platform.traffic(**STEADY) as traffic:
            for count in (1, 3, 1):
                platform.namespace.scale("Deployment", f"vp-{name}", count)
                platform.namespace.wait_for_pods(name, count)
                traffic.wait_for(60)
    finally:
        platform.namespace.scale("Deployment", f"vp-{name}", 2)
    figures(f"{name} scaled 1, 3, 1", traffic.summary)
    assert traffic.lost() == []


@pytest.mark.parametrize("name", SERVICES)
def test_evictions_one_by_one(platform: Platform, figures: Record, name: str) -> None:
    first, second = (pod["metadata"]["name"] for pod in platform.namespace.live(name))
    cluster, namespace = platform.namespace.cluster, platform.namespace.name
    with platform.traffic(**STEADY) as traffic:
        wait_until(lambda: cluster.evict(first, namespace), 30, what="a budget that allows the first")
        assert not cluster.evict(second, namespace), "the budget allows one unavailable pod"
        platform.namespace.wait_for_pods(name, 2)
        wait_until(lambda: cluster.evict(second, namespace), 30, what="a budget that allows the second")
        platform.namespace.wait_for_pods(name, 2)
        traffic.wait_for(60)
    figures(f"{name} evicted one by one", traffic.summary)
    assert not {first, second} & {pod["metadata"]["name"] for pod in platform.namespace.live(name)}
    assert traffic.lost() == []


def test_killed_container_loses_no_login(platform: Platform, figures: Record, node: Node) -> None:
    pod = platform.namespace.live("user-svc")[0]
    name = pod["metadata"]["name"]
    restarts = platform.namespace.restarts()[name]
    with platform.traffic(login=8, profile=4) as traffic:
        node.kill(pod)
        wait_until(lambda: platform.namespace.restarts()[name] == restarts + 1, 60, what="the container's restart")
        platform.wait_until_whole()
        traffic.wait_for(60)
    figures("a user-svc container killed", traffic.summary)
    assert traffic.lost() == []


LOGINS = re.compile(r'^logins_total\{result="success"\} (\d+)', re.MULTILINE)


def logins(platform: Platform, pod: str) -> int:
    """Return how many logins a pod has answered."""
    found = LOGINS.search(platform.metrics(pod))
    return int(found[1]) if found else 0


def test_new_pod_gets_its_share(platform: Platform, figures: Record) -> None:
    old = {pod["metadata"]["name"] for pod in platform.namespace.live("user-svc")}
    try:
        with platform.traffic(login=12) as traffic:
            platform.namespace.scale("Deployment", "vp-user-svc", 3)

            def ready() -> list[str]:
                pods = [pod for pod in platform.namespace.live("user-svc") if condition(pod, "Ready")]
                return [pod["metadata"]["name"] for pod in pods if pod["metadata"]["name"] not in old]

            (new,) = wait_until(ready, 60, what="the third pod")
            began = time.monotonic()
            wait_until(lambda: logins(platform, new), 30, what="the new pod's first login")
            figures("new user-svc pod, seconds from Ready to its first login", time.monotonic() - began)
            before = {name: logins(platform, name) for name in (*old, new)}
            traffic.wait_for(240, 120)  # so long that it matters little that the pods are asked one after the other
            shares = {name: logins(platform, name) - count for name, count in before.items()}
            figures("logins of the two old pods and the new one", [*(shares[name] for name in old), shares[new]])
    finally:
        platform.namespace.scale("Deployment", "vp-user-svc", 2)
    assert shares[new] >= sum(shares.values()) / 4
    assert traffic.lost() == []
