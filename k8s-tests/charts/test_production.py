"""What values-production.yaml turns on."""

from typing import Any

import pytest
from manifests import CHARTS, Manifest, of_kind, render

FILE = CHARTS / "video-platform" / "values-production.yaml"


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return render("video-platform", {}, "--values", str(FILE))


def _pod(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    pod: Manifest = of_kind(manifests, kind, name)["spec"]["template"]["spec"]
    return pod


def test_everything_speaks_tls_and_etcd_wants_passwords(manifests: list[Manifest]) -> None:
    for kind, name in (
        ("Deployment", "vp-gateway-svc"),
        ("Deployment", "vp-user-svc"),
        ("StatefulSet", "vp-etcd"),
        ("StatefulSet", "vp-mysql"),
    ):
        assert "mtls" in [volume["name"] for volume in _pod(manifests, kind, name)["volumes"]]
    assert [container["name"] for container in _pod(manifests, "StatefulSet", "vp-etcd")["initContainers"]] == ["auth"]


@pytest.mark.parametrize("name", ["vp-gateway-svc", "vp-user-svc"])
def test_services_scale_by_what_they_request(manifests: list[Manifest], name: str) -> None:
    scaler = of_kind(manifests, "HorizontalPodAutoscaler", name)["spec"]
    assert scaler["minReplicas"] >= 2
    assert "replicas" not in of_kind(manifests, "Deployment", name)["spec"]
    (container,) = _pod(manifests, "Deployment", name)["containers"]
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}


def test_three_members_of_etcd_have_a_budget(manifests: list[Manifest]) -> None:
    assert of_kind(manifests, "StatefulSet", "vp-etcd")["spec"]["replicas"] == 3
    assert of_kind(manifests, "PodDisruptionBudget", "vp-etcd")["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize("name", ["vp-gateway-svc", "vp-user-svc", "vp-etcd"])
def test_pods_spread_over_free_nodes(manifests: list[Manifest], name: str) -> None:
    kind = "StatefulSet" if name == "vp-etcd" else "Deployment"
    spread: dict[str, Any] = {c["topologyKey"]: c for c in _pod(manifests, kind, name)["topologySpreadConstraints"]}
    assert spread["kubernetes.io/hostname"]["whenUnsatisfiable"] == "DoNotSchedule"
    assert spread["topology.kubernetes.io/zone"]["whenUnsatisfiable"] == "ScheduleAnyway"
