"""Where a cluster enforces NetworkPolicies: who reaches what. What they say is tested with the charts."""

import json
from collections.abc import Callable, Iterator

import pytest
from support.client_pod import ClientPod
from support.cluster import Manifest, wait_until
from support.namespace import Namespace
from support.platform import Platform

GATEWAY, USER, ETCD, MYSQL = "vp-gateway-svc:8080", "vp-user-svc:8888", "vp-etcd:2379", "vp-mysql:3306"
ALL = (GATEWAY, USER, ETCD, MYSQL)

pytestmark = pytest.mark.enforced


def reached(client_pod: ClientPod, *peers: str) -> set[str]:
    """Return the peers to which the pod can connect."""
    return set(json.loads(client_pod.run("connect.py", "3", *peers)))


@pytest.fixture(scope="module")
def pods(installed: Platform) -> Iterator[Callable[[str], ClientPod]]:
    """Gives a pod of ours with this `app.kubernetes.io/name`."""
    made: list[ClientPod] = []

    def make(label: str) -> ClientPod:
        made.append(ClientPod(installed.namespace, name=f"as-{label}", label=label))
        made[-1].wait()
        return made[-1]

    yield make
    for client_pod in made:
        installed.namespace.delete("Pod", client_pod.name, now=True)


@pytest.fixture(autouse=True, scope="module")
def enforcing(pods: Callable[[str], ClientPod], installed: Platform) -> None:
    """Skips where a pod that may send nothing still reaches the gateway."""
    name = "shut"
    client_pod = pods(name)
    installed.namespace.create(silence(name))
    try:
        wait_until(lambda: not reached(client_pod, GATEWAY), 60, what="a pod that reaches nothing")
    except AssertionError:
        pytest.skip("this cluster does not enforce NetworkPolicies")
    finally:
        installed.namespace.delete("NetworkPolicy", name)


def silence(name: str) -> Manifest:
    """Return a policy that lets a pod of ours send nothing."""
    labels = {"app.kubernetes.io/name": name}
    spec = {"podSelector": {"matchLabels": labels}, "policyTypes": ["Egress"]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": spec,
    }


@pytest.mark.parametrize(
    ("label", "open_paths"),
    [
        ("somebody", {GATEWAY}),
        ("gateway-svc", {GATEWAY, USER, ETCD}),
        ("user-svc", {GATEWAY, ETCD, MYSQL}),
        ("etcd", {GATEWAY}),
    ],
)
def test_who_reaches_what(
    platform: Platform, pods: Callable[[str], ClientPod], label: str, open_paths: set[str]
) -> None:
    """The pods have a name of the release's, and are not part of it: what they may send is not restricted."""
    client_pod = pods(label)
    wait_until(lambda: reached(client_pod, *ALL) == open_paths, 60, what=f"{open_paths} alone")


def test_strangers_do_not_reach_metrics(platform: Platform, pods: Callable[[str], ClientPod]) -> None:
    """And Prometheus does."""
    ports = {"user-svc": 9090, "gateway-svc": 9090, "etcd": 2381}
    peers = {
        f"{pod['status']['podIP']}:{port}" for name, port in ports.items() for pod in platform.namespace.live(name)
    }
    stranger, prometheus = pods("stranger"), pods("prometheus")
    wait_until(lambda: reached(prometheus, *peers) == peers, 60, what="Prometheus at every pod")
    assert reached(stranger, *peers) == set()


def test_other_namespaces_reach_the_gateway_alone(platform: Platform, new_namespace: Callable[..., Namespace]) -> None:
    elsewhere = ClientPod(new_namespace(), label="gateway-svc")
    elsewhere.wait()
    far = {f"{host}.{platform.namespace.name}:{port}" for host, port in (peer.split(":") for peer in ALL)}
    (gateway,) = (peer for peer in far if peer.startswith("vp-gateway-svc"))
    wait_until(lambda: reached(elsewhere, *far) == {gateway}, 60, what="the gateway alone")
