"""Who decides on the number of pods."""

import re
from typing import Any

import pytest
import yaml
from manifests import CHARTS, merged, nested, of_kind, render

SERVICES = ("user-svc", "gateway-svc")
PAGE = (CHARTS.parent / "docs" / "autoscaling.md").read_text()


@pytest.mark.parametrize("service", SERVICES)
def test_null_leaves_the_number_to_others(service: str) -> None:
    for chart, values in ((service, {"replicaCount": None}), ("video-platform", {service: {"replicaCount": None}})):
        deployment = of_kind(render(chart, values), "Deployment", f"vp-{service}")
        assert "replicas" not in deployment["spec"]
        assert deployment["metadata"]["annotations"]["video-platform/replica-count"] == ""


def test_mysql_allows_for_unknown_autoscalers() -> None:
    values = {
        "user-svc": {"replicaCount": None, "autoscaling": {"maxReplicas": 4}},
        "mysql": {"resources": {"limits": None}},
    }
    data = of_kind(render("video-platform", values), "ConfigMap", "vp-mysql")["data"]
    assert data["max-connections"] == str(5 * 101 + 20)


@pytest.mark.parametrize("service", SERVICES)
def test_other_metrics_take_the_place_of_the_cpu(service: str) -> None:
    metric = {
        "type": "Pods",
        "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "2"}},
    }
    values = {"autoscaling": {"enabled": True, "metrics": [metric]}}
    assert of_kind(render(service, values), "HorizontalPodAutoscaler")["spec"]["metrics"] == [metric]


def _examples() -> list[dict[str, Any]]:
    return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def test_examples_of_the_page_render() -> None:
    kinds = [{m["kind"] for m in render("video-platform", values)} for values in _examples()]
    assert len(kinds) >= 3
    assert sum("ScaledObject" in found for found in kinds) == 1
    assert sum("HorizontalPodAutoscaler" in found for found in kinds) >= 2


def test_keda_example_queries_this_releases_queue() -> None:
    (values,) = [values for values in _examples() if "ScaledObject" in str(values)]
    manifests = render("video-platform", values, release="second")
    scaled = of_kind(manifests, "ScaledObject")
    deployment = of_kind(manifests, "Deployment", "second-user-svc")
    assert scaled["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]
    (trigger,) = scaled["spec"]["triggers"]
    assert 'release="second"' in trigger["metadata"]["query"]
    assert "password_hash_queue_depth" in trigger["metadata"]["query"]


def test_plain_rendering_leaves_autoscaled_replicas_alone() -> None:
    values = merged(nested("user-svc.autoscaling.enabled", True), nested("user-svc.replicaCount", 5))
    assert "replicas" not in of_kind(render("video-platform", values), "Deployment", "vp-user-svc")["spec"]
