"""A node that is lost without a word: packets of its pods are dropped, then all that runs on it is killed.

It is the second node of a cluster made by `make cluster`, with one member of etcd, one user service and one gateway.
"""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import Record
from support.client_pod import Traffic
from support.cluster import Cluster, Manifest, wait_until
from support.namespace import CHARTS, Namespace
from support.platform import SMALL, Platform

pytestmark = pytest.mark.faults

LOST = "node-2"

STEADY = {"register": 1.0, "login": 3.0, "profile": 2.0}
"""Requests a second."""

ANYWHERE = {"tolerations": [{"key": "video-platform/second-node", "operator": "Exists"}]}

SPREAD: dict[str, Any] = {
    **ANYWHERE,
    "replicaCount": 2,
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
    ],
}

VALUES: dict[str, Any] = {
    **SMALL,
    "user-svc": {**SMALL["user-svc"], **SPREAD},
    "gateway-svc": {**SMALL["gateway-svc"], **SPREAD},
    "etcd": {**SMALL["etcd"], **ANYWHERE, "replicaCount": 3},
}


def second_node(action: str) -> None:
    """Add the second node, lose it or remove it."""
    script = CHARTS.parent / "k8s-tests" / "cluster" / "second-node.sh"
    run = subprocess.run([script, action], capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.fixture
def two_nodes(cluster: Cluster) -> Iterator[None]:
    """A second node for the test's time."""
    if cluster.context.kind != "local":
        pytest.skip("a node is killed only in a cluster made by `make cluster`")
    second_node("up")
    yield
    second_node("down")


@pytest.fixture
def spread(two_nodes: None, new_namespace: Callable[..., Namespace]) -> Platform:
    """A platform on both nodes. Claims that exist already say where each member of etcd goes."""
    platform = Platform(new_namespace(), VALUES)
    for member, node in enumerate(["node-1", LOST, "node-1"]):
        platform.namespace.create(_claim(member, node))
    platform.install()
    return platform


def _claim(member: int, node: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": f"data-vp-etcd-{member}",
            "annotations": {"volume.kubernetes.io/selected-node": node},
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "standard",
            "resources": {"requests": {"storage": "2Gi"}},
        },
    }


def test_node_gone_for_good_is_replaced(spread: Platform, figures: Record) -> None:
    """By the lines of docs/etcd.md."""
    namespace = spread.namespace
    on_lost = {pod["metadata"]["name"] for pod in namespace.list_all("Pod") if pod["spec"]["nodeName"] == LOST}
    assert sorted(name.rpartition("-")[0][:11] for name in on_lost) == ["vp-etcd", "vp-gateway-", "vp-user-svc"]
    (left,) = (pod for pod in namespace.live("gateway-svc") if pod["spec"]["nodeName"] != LOST)
    direct = Traffic(spread.client_pod, f"http://{left['status']['podIP']}:8080", STEADY)
    with spread.traffic(**STEADY) as traffic, direct:
        second_node("lose")
        lost_at = time.time()
        spread.wait_for_keys(1, 60)
        figures("a node lost: seconds until the dead instance is not registered", time.time() - lost_at)
        known, name = 'registry_endpoints{service="user"} 1.0', left["metadata"]["name"]
        wait_until(lambda: known in spread.metrics(name), 60, what="a gateway that knows one instance")
        left_calm = calm(direct)
        wait_until(lambda: LOST not in nodes_served(namespace), 180, what="a Service without the dead gateway")
        figures("a node lost: seconds until the Service leaves the dead gateway out", time.time() - lost_at)
        service_calm = calm(traffic)
        deleted_at = time.time()
        namespace.shell(f"kubectl delete node {LOST}")
        namespace.shell(replacement(), timeout=600)
        spread.wait_until_whole()
        figures("a node lost: seconds from its deletion to a whole platform", time.time() - deleted_at)
        spread.wait_for_keys(2, 60)
        traffic.wait_for(30)
    for name, each in (("the Service", traffic), ("a gateway left", direct)):
        begun = [result["at"] - result["took"] - lost_at for result in each.lost()]
        figures(f"a node lost, by {name}", each.summary)
        figures(
            f"a node lost, by {name}: lost requests, and when the last one began", (len(begun), max(begun, default=0))
        )
    assert [result for result in direct.lost() if result["at"] > left_calm] == []
    assert [result for result in traffic.lost() if result["at"] > service_calm] == []
    members = spread.etcdctl("member", "list").splitlines()
    assert [line.split(", ")[1] for line in members] == ["started"] * 3


def nodes_served(namespace: Namespace) -> set[str]:
    """Return the nodes to whose gateways the Service sends connections."""
    slices = namespace.list_all("EndpointSlice", "kubernetes.io/service-name=vp-gateway-svc")
    return {each["nodeName"] for found in slices for each in found["endpoints"] if each["conditions"]["ready"]}


def calm(traffic: Traffic) -> float:
    """Wait until the last hundred results, which take longer than one request may, are good; return the time."""
    before = len(traffic.results)

    def good() -> bool:
        later = traffic.results[before:]
        return len(later) >= 100 and all(result["ok"] for result in later[-100:])

    wait_until(good, 180, what="a hundred good answers in a row")
    return time.time()


def replacement() -> str:
    """Return the commands of docs/etcd.md for a member without its volume, with the id filled in and repetitions."""
    page = (CHARTS.parent / "docs" / "etcd.md").read_text()
    (steps,) = re.findall(r"## A member that has lost its volume\n.*?```sh\n(.*?)```", page, re.DOTALL)
    steps = re.sub(
        r"^(kubectl exec .* member list) .*$", r"ID=$(\1 | sed -n 's/, .*, vp-etcd-1, .*//p')", steps, flags=re.M
    )
    steps = steps.replace("remove ID", "remove $ID").replace("kubectl exec", "repeat kubectl exec")
    return f"""repeat() {{
  local said
  until said=$("$@" 2>&1); do
    [[ $said == *"unhealthy cluster"* ]] || {{ echo "$said" >&2 && return 1; }}
  done
  echo "$said"
}}
{steps}"""
