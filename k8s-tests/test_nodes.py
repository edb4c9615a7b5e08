"""A node that fails for good: packets of its pods are dropped, then all that runs on it is killed.

It is the second node of a cluster made by `make cluster`.
"""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from conftest import Record
from support.client_pod import Traffic
from support.cluster import Cluster, Manifest, condition, wait_until
from support.namespace import CHARTS, Namespace
from support.platform import SMALL, Platform

pytestmark = pytest.mark.faults

LOST = "node-2"

STEADY = {"register": 1.0, "login": 2.0, "profile": 2.0}
"""Requests a second. Of calls to user services there are an odd number: each kind reaches both in turn."""

PAGE = (CHARTS.parent / "docs" / "etcd.md").read_text()

ANYWHERE = {"tolerations": [{"key": "video-platform/second-node", "operator": "Exists"}]}

SPREAD: dict[str, Any] = {
    **ANYWHERE,
    "replicaCount": 2,
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
    ],
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
    try:
        second_node("up")
        yield
    finally:
        second_node("down")


def installed(namespace: Namespace, values: dict[str, Any], *members: str) -> Platform:
    """Return a platform. Claims that exist before it say which node each member of etcd runs on."""
    for member, node in enumerate(members):
        namespace.create(_claim(member, node))
    etcd = {**SMALL["etcd"], **ANYWHERE, "replicaCount": len(members)}
    platform = Platform(namespace, {**SMALL, **values, "etcd": etcd})
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


@pytest.mark.usefixtures("two_nodes")
def test_node_gone_for_good_is_replaced(new_namespace: Callable[..., Namespace], figures: Record) -> None:
    """With one of three members of etcd, one of two user services and one of two gateways; by docs/etcd.md."""
    namespace = new_namespace()
    services = {name: {**SMALL[name], **SPREAD} for name in ("user-svc", "gateway-svc")}
    spread = installed(namespace, services, "node-1", LOST, "node-1")
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
    # Connection tracking keeps the lost gateway for the source port of an unanswered connection, for two minutes.
    unopened = repr(httpx.ConnectTimeout(""))
    later = [result for result in traffic.lost() if result["at"] > service_calm]
    assert [result for result in later if result.get("error") != unopened] == []
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

    wait_until(good, 300, what="a hundred good answers in a row")
    return time.time()


def replacement() -> str:
    """Return the commands for a member that has lost its volume, with its id filled in, repeated as the page says."""
    (steps,) = re.findall(r"## A member that has lost its volume\n.*?```sh\n(.*?)```", PAGE, re.DOTALL)
    member = r"ID=$(\1 | sed -n 's/, .*, vp-etcd-1, .*//p')"
    steps = re.sub(r"^(kubectl exec .* member list) .*$", member, steps, flags=re.MULTILINE)
    steps = steps.replace("remove ID", "remove $ID").replace("kubectl exec", "repeat kubectl exec")
    return f"""repeat() {{
  local said
  until said=$("$@" 2>&1); do
    [[ $said == *"unhealthy cluster"* ]] || {{ echo "$said" >&2 && return 1; }}
  done
  echo "$said"
}}
{steps}"""


@pytest.mark.usefixtures("two_nodes")
def test_only_member_gone_for_good_loses_no_request(new_namespace: Callable[..., Namespace], figures: Record) -> None:
    """With its node; by docs/etcd.md."""
    namespace = new_namespace()
    platform = installed(namespace, {}, LOST)
    (steps,) = re.findall(r"## A node that is gone for good\n.*?```sh\n(.*?)```", PAGE, re.DOTALL)
    with platform.traffic(**STEADY) as traffic:
        second_node("lose")
        wait_until(lambda: not condition(node(namespace), "Ready"), 180, what="a node that is not ready")
        deleted_at = time.time()
        namespace.shell(f"kubectl delete node {LOST}\n{steps}")
        platform.wait_until_whole()
        figures("the only member's node lost: seconds from its deletion to a whole platform", time.time() - deleted_at)
        traffic.wait_for(30)
    figures("the only member's node lost", traffic.summary)
    assert traffic.lost() == []


def node(namespace: Namespace) -> Manifest:
    """Return the node that is lost, as Kubernetes sees it."""
    found = namespace.cluster.get("Node", LOST)
    assert found
    return found
