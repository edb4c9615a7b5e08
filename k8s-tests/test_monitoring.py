"""What the charts tell the Prometheus operator and Grafana is accepted, and leads to pods that answer."""

import json
from collections.abc import Iterator

import pytest
from support import operator
from support.cluster import Cluster, Manifest
from support.platform import VALUES, Platform

RULE = {"prometheusRule": {"enabled": True}}
DASHBOARDS = {"dashboards": {"enabled": True}}
POD_MONITOR = {"podMonitor": {"enabled": True}}
SERVICE_MONITOR = {"serviceMonitor": {"enabled": True}}

MONITORED = {
    "user-svc": {**VALUES["user-svc"], "metrics": {**POD_MONITOR, **RULE, **DASHBOARDS}},
    "gateway-svc": {**VALUES.get("gateway-svc", {}), "metrics": {**SERVICE_MONITOR, **RULE, **DASHBOARDS}},
    "etcd": {**VALUES.get("etcd", {}), "metrics": POD_MONITOR},
}

MOST_BYTES = 256 * 1024
"""Of what Helm keeps of a release; a Secret holds four times as many."""


@pytest.fixture(scope="module")
def kinds(cluster: Cluster) -> Iterator[None]:
    """The operator's kinds; those that the cluster did not have are taken away again."""
    try:
        made = operator.define(cluster)
    except FileNotFoundError as error:
        pytest.skip(f"the operator's definitions come from a Go module, and {error}")
    yield
    for name in made:
        cluster.delete("CustomResourceDefinition", name)


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    assert selector.keys() == {"matchLabels"}
    found: bool = selector["matchLabels"].items() <= labels.items()
    return found


def scraped(platform: Platform, pods: list[Manifest], port: str) -> None:
    """Check that every pod answers Prometheus on the port of this name."""
    for pod in pods:
        (number,) = (p["containerPort"] for c in pod["spec"]["containers"] for p in c["ports"] if p["name"] == port)
        name, namespace = pod["metadata"]["name"], platform.namespace.name
        assert "process_start_time_seconds" in platform.namespace.cluster.proxy(name, namespace, number, "metrics")


@pytest.fixture(scope="module")
def monitored(installed: Platform, kinds: None) -> Iterator[Platform]:
    """The platform with all that its charts can make for the operator and for Grafana."""
    installed.restore()
    installed.release.upgrade(MONITORED)
    yield installed
    installed.release.upgrade(VALUES)
    assert installed.namespace.list_all("PodMonitor") == []
    assert installed.namespace.list_all("PrometheusRule") == []


@pytest.mark.parametrize("name", ["user-svc", "etcd"])
def test_pod_monitors_lead_to_pods(monitored: Platform, name: str) -> None:
    monitor = monitored.namespace.get("PodMonitor", f"vp-{name}")
    assert monitor
    pods = monitored.namespace.list_all("Pod", "app.kubernetes.io/instance=vp")
    chosen = [pod for pod in pods if selects(monitor["spec"]["selector"], pod["metadata"]["labels"])]
    assert chosen == monitored.namespace.live(name)
    scraped(monitored, chosen, monitor["spec"]["podMetricsEndpoints"][0]["port"])


def test_service_monitors_lead_to_pods(monitored: Platform) -> None:
    monitor = monitored.namespace.get("ServiceMonitor", "vp-gateway-svc")
    assert monitor
    services = monitored.namespace.list_all("Service")
    (service,) = (s for s in services if selects(monitor["spec"]["selector"], s["metadata"]["labels"]))
    (port,) = service["spec"]["ports"]
    assert monitor["spec"]["endpoints"][0]["port"] == port["name"]
    labels = service["spec"]["selector"].items()
    pods = monitored.namespace.list_all("Pod", "app.kubernetes.io/instance=vp")
    chosen = [pod for pod in pods if labels <= pod["metadata"]["labels"].items()]
    assert chosen == monitored.namespace.live("gateway-svc")
    scraped(monitored, chosen, port["targetPort"])


def test_rules_and_dashboards_are_there(monitored: Platform) -> None:
    rules = monitored.namespace.list_all("PrometheusRule")
    assert [rule["metadata"]["name"] for rule in rules] == ["vp-gateway-svc", "vp-user-svc"]
    assert all(group["rules"] for rule in rules for group in rule["spec"]["groups"])
    dashboards = [
        json.loads(text)["uid"]
        for each in monitored.namespace.list_all("ConfigMap", "grafana_dashboard=1")
        for text in each["data"].values()
    ]
    assert sorted(dashboards) == ["video-platform", "video-platform-registry", "video-platform-user-service"]


def test_helm_stores_the_release_in_one_secret(monitored: Platform) -> None:
    kept = monitored.namespace.list_all("Secret", "owner=helm")
    assert kept
    for secret in kept:
        assert len(secret["data"]["release"]) < MOST_BYTES, secret["metadata"]["name"]
