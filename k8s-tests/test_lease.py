"""The lease in etcd and the readiness of a pod go together; whether clients are served does not depend on either."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from conftest import Record
from support.client_pod import IN_POD
from support.cluster import Execution, Manifest, condition, ready_since, wait_until
from support.platform import Platform

NOT_READY_WITHIN = 20
"""Seconds, from the end of etcd's pod: the charts document 7 to 15, the rest is what it takes to be told."""

READY_WITHIN = 30
"""Seconds, from the moment that etcd is asked to come back."""


def policy(name: str) -> Manifest:
    """The part of a PodDisruptionBudget that says what is evicted when too few pods are ready."""
    return {"spec": {"unhealthyPodEvictionPolicy": name}}


@contextmanager
def watching(platform: Platform, pod: str) -> Iterator["Statuses"]:
    """Follow `readiness` of a pod on grpc.health.v1."""
    program = (IN_POD / "watch_health.py").read_text()
    running = platform.namespace.cluster.start(
        pod, platform.namespace.name, "python", "-c", program, "127.0.0.1:8888", "readiness"
    )
    try:
        yield Statuses(running)
    finally:
        running.tell("stop")
        running.finish(10)


class Statuses:
    """What a watched name has been so far."""

    def __init__(self, running: Execution) -> None:
        self._running = running
        self.seen: list[str] = []

    def become(self, *statuses: str) -> bool:
        """Whether the name has been just these, one after the other."""
        self.seen += [json.loads(line)["status"] for line in self._running.lines()]
        return self.seen == list(statuses)


@pytest.mark.parametrize("loss", ["lease revoked", "key deleted"])
def test_registers_again_at_once(platform: Platform, loss: str) -> None:
    pod = platform.namespace.live("user-svc")[0]
    address = f"{pod['status']['podIP']}:8888"
    restarts = platform.namespace.restarts()
    before = platform.keys()
    with watching(platform, pod["metadata"]["name"]) as status:
        wait_until(lambda: status.become("SERVING"), 10, what="the watch")
        if loss == "lease revoked":
            platform.etcdctl("lease", "revoke", before[address]["lease"])
        else:
            platform.etcdctl("del", before[address]["key"])
        wait_until(lambda: status.become("SERVING", "NOT_SERVING", "SERVING"), 10, what="the loss and the return")
    after = platform.keys()
    assert after.keys() == before.keys()
    assert (after[address]["lease"] != before[address]["lease"]) == (loss == "lease revoked")
    assert platform.namespace.restarts() == restarts


def outage(platform: Platform, figures: Record, seconds: float) -> None:
    """Take etcd away for so long, under traffic, and hold the platform to what it promises."""
    restarts = platform.namespace.restarts()
    gateways = {pod["metadata"]["name"]: ready_since(pod) for pod in platform.namespace.live("gateway-svc")}
    with platform.traffic(login=4, profile=2, register=1) as traffic:
        began = time.monotonic()
        platform.stop_etcd()

        def not_ready() -> bool:
            return not any(condition(pod, "Ready") for pod in platform.namespace.live("user-svc"))

        wait_until(not_ready, NOT_READY_WITHIN, what="user services that are not ready")
        figures(f"etcd away for {seconds:g} s: seconds to NotReady", time.monotonic() - began)
        traffic.wait_seconds(seconds - (time.monotonic() - began))
        assert not_ready()
        platform.start_etcd()
        began = time.monotonic()
        platform.namespace.wait_for_pods("user-svc", platform.replicas["user-svc"], READY_WITHIN)
        figures(f"etcd away for {seconds:g} s: seconds from its start to Ready", time.monotonic() - began)
        traffic.wait_for(10)
    figures(f"etcd away for {seconds:g} s", traffic.summary)
    assert len(traffic.of("login")) >= 3 * seconds
    assert traffic.lost() == []
    platform.wait_until_whole(READY_WITHIN)
    now = {pod["metadata"]["name"]: ready_since(pod) for pod in platform.namespace.live("gateway-svc")}
    assert now == gateways, "a gateway was not ready for a while"
    restarted = {name: count for name, count in platform.namespace.restarts().items() if count != restarts.get(name, 0)}
    assert not restarted


def test_etcd_away_for_a_minute(platform: Platform, figures: Record) -> None:
    outage(platform, figures, 60)


@pytest.mark.faults
def test_etcd_away_for_five_minutes(platform: Platform, figures: Record) -> None:
    outage(platform, figures, 300)


def test_node_is_drained_while_etcd_is_away(platform: Platform, figures: Record) -> None:
    """One of the user services is on the node that is drained; where there is one node, the label stands for it."""
    namespace = platform.namespace
    first, second = namespace.live("user-svc")
    name, node = first["metadata"]["name"], first["spec"]["nodeName"]
    kubectl = ["kubectl", f"--context={namespace.cluster.context.name}"]
    drain = ["drain", node, "--pod-selector=drained=yes", "--delete-emptydir-data", "--timeout=120s"]
    namespace.patch("Pod", name, {"metadata": {"labels": {"drained": "yes"}}})
    with platform.traffic(login=4, profile=2) as traffic:
        platform.stop_etcd()
        try:
            wait_until(
                lambda: not any(condition(pod, "Ready") for pod in namespace.live("user-svc")),
                NOT_READY_WITHIN,
                what="user services that are not ready",
            )
            namespace.patch("PodDisruptionBudget", "vp-user-svc", policy("IfHealthyBudget"))
            assert not namespace.cluster.evict(name, namespace.name)
            namespace.patch("PodDisruptionBudget", "vp-user-svc", policy("AlwaysAllow"))
            began = time.monotonic()
            subprocess.run([*kubectl, *drain], capture_output=True, timeout=130, check=True)
            figures("etcd away: seconds to drain a node", time.monotonic() - began)
            traffic.wait_for(40)
            assert second["metadata"]["name"] in {pod["metadata"]["name"] for pod in namespace.live("user-svc")}
        finally:
            namespace.patch("PodDisruptionBudget", "vp-user-svc", policy("AlwaysAllow"))
            subprocess.run([*kubectl, "uncordon", node], capture_output=True, timeout=30, check=True)
            platform.start_etcd()
        namespace.wait_for_pods("user-svc", platform.replicas["user-svc"], READY_WITHIN)
        traffic.wait_for(10)
    figures("etcd away, a node drained", traffic.summary)
    assert traffic.lost() == []


def test_etcd_comes_back_without_its_data(platform: Platform, figures: Record) -> None:
    """And pods that start meanwhile wait for it."""
    restarts = platform.namespace.restarts()
    old = {n: [pod["metadata"]["name"] for pod in platform.namespace.live(n)] for n in ("user-svc", "gateway-svc")}
    with platform.traffic(login=2, profile=2) as traffic:
        platform.stop_etcd()
        platform.namespace.delete("PersistentVolumeClaim", "data-vp-etcd-0")
        wait_until(
            lambda: not platform.namespace.get("PersistentVolumeClaim", "data-vp-etcd-0"), 60, what="the volume's end"
        )
        for pods in old.values():
            platform.namespace.delete("Pod", pods[0])
        sentence = "etcd cannot be reached at ETCD_ADDRESS"
        new = [platform.namespace.wait_for_waiting_pod(name, known, sentence) for name, known in old.items()]
        platform.start_etcd()
        began = time.monotonic()
        for name in old:
            platform.namespace.wait_for_pods(name, platform.replicas[name], READY_WITHIN)
        figures("etcd wiped: seconds from its start to Ready", time.monotonic() - began)
        traffic.wait_for(10)
    assert traffic.lost() == []
    platform.wait_for_keys(platform.replicas["user-svc"], 10)
    now = platform.namespace.restarts()
    assert [now[name] for name in new] == [0, 0]
    assert {name: now[name] for name in now.keys() & restarts.keys()} == {
        name: restarts[name] for name in now.keys() & restarts.keys()
    }
