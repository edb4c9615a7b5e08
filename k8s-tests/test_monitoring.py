"""What the charts tell the Prometheus operator is accepted, and leads to pods that answer."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from parts import operator
from parts.cluster import Cluster, Manifest
from parts.platform import VALUES, Platform

CHARTS = Path(__file__).parents[1] / "charts"
GROUP = "monitoring.coreos.com/v1"

POD_MONITOR = {"metrics": {"podMonitor": {"enabled": True}}}
SERVICE_MONITOR = {"metrics": {"serviceMonitor": {"enabled": True}}}


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


def test_monitors_lead_to_pods(platform: Platform, kinds: None) -> None:
    monitored = {
        **VALUES,
        "user-svc": {**VALUES["user-svc"], **POD_MONITOR},
        "gateway-svc": SERVICE_MONITOR,
        "etcd": POD_MONITOR,
    }
    platform.release.upgrade(monitored)
    try:
        pods = platform.namespace.list_all("Pod", "app.kubernetes.io/instance=vp")
        for name in ("user-svc", "etcd"):
            monitor = platform.namespace.get("PodMonitor", f"vp-{name}")
            assert monitor
            chosen = [pod for pod in pods if selects(monitor["spec"]["selector"], pod["metadata"]["labels"])]
            assert chosen == platform.namespace.live(name)
            scraped(platform, chosen, monitor["spec"]["podMetricsEndpoints"][0]["port"])

        monitor = platform.namespace.get("ServiceMonitor", "vp-gateway-svc")
        assert monitor
        services = platform.namespace.list_all("Service")
        (service,) = (s for s in services if selects(monitor["spec"]["selector"], s["metadata"]["labels"]))
        (port,) = service["spec"]["ports"]
        assert monitor["spec"]["endpoints"][0]["port"] == port["name"]
        labels = service["spec"]["selector"].items()
        chosen = [pod for pod in pods if labels <= pod["metadata"]["labels"].items()]
        assert chosen == platform.namespace.live("gateway-svc")
        scraped(platform, chosen, port["targetPort"])
    finally:
        platform.release.upgrade(VALUES)
    assert platform.namespace.list_all("PodMonitor") == []


@pytest.mark.parametrize("file", sorted(CHARTS.glob("*/files/rules/*.yaml")), ids=lambda file: file.stem)
def test_rules_are_accepted(platform: Platform, kinds: None, file: Path) -> None:
    rule = {
        "apiVersion": GROUP,
        "kind": "PrometheusRule",
        "metadata": {"name": file.stem},
        "spec": yaml.safe_load(file.read_text()),
    }
    assert rule["spec"]["groups"]
    assert platform.namespace.cluster.dry_run(rule, platform.namespace.name) == []
