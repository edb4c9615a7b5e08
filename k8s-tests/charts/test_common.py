"""What operators add to all objects, and objects of their own."""

from typing import Any

import pytest
from manifests import NAMES, Manifest, RefusedError, merged, nested, of_kind, render
from test_lint import EVERYTHING

LABELS = {"example.com/team": "video"}
ANNOTATIONS = {"example.com/owner": "someone"}


def _objects(chart: str, values: dict[str, Any]) -> list[Manifest]:
    found = render(chart, merged(EVERYTHING[chart], values))
    assert len(found) >= 4
    return [manifest for manifest in found if manifest["metadata"].get("annotations", {}).get("helm.sh/hook") != "test"]


def _settings(chart: str) -> list[dict[str, Any]]:
    """Where they can be set: for the chart, and for all charts."""
    both = {"commonLabels": LABELS, "commonAnnotations": ANNOTATIONS}
    return [{"global": both}] if chart == "video-platform" else [{"global": both}, both]


@pytest.mark.parametrize("chart", NAMES)
def test_every_object_has_common_labels_and_annotations(chart: str) -> None:
    for values in _settings(chart):
        for manifest in _objects(chart, values):
            metadata = manifest["metadata"]
            if values.keys() == {"global"} or metadata["labels"]["app.kubernetes.io/name"] == chart:
                assert metadata["labels"].items() >= LABELS.items(), metadata["name"]
                assert metadata["annotations"].items() >= ANNOTATIONS.items(), metadata["name"]


@pytest.mark.parametrize("chart", NAMES)
def test_pods_have_common_labels_and_selectors_do_not(chart: str) -> None:
    for manifest in _objects(chart, {"global": {"commonLabels": LABELS}}):
        if manifest["kind"] in {"Deployment", "StatefulSet"}:
            spec = manifest["spec"]
            assert spec["template"]["metadata"]["labels"].items() >= LABELS.items()
            assert not LABELS.keys() & spec["selector"]["matchLabels"].keys()
            for claim in spec.get("volumeClaimTemplates", []):
                assert not LABELS.keys() & claim["metadata"]["labels"].keys(), "a claim's template cannot be changed"


def test_chart_s_own_labels_win_over_global_ones() -> None:
    values = {"global": {"commonLabels": {"example.com/team": "all"}}, "commonLabels": LABELS}
    assert of_kind(render("etcd", values), "StatefulSet")["metadata"]["labels"].items() >= LABELS.items()


@pytest.mark.parametrize("path", ["commonLabels", "global.commonLabels"])
def test_common_labels_that_select_pods_are_refused(path: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        render("user-svc", nested(path, {"app.kubernetes.io/instance": "other"}))
    assert all("commonLabels: app.kubernetes.io/instance is what selects" in said for said in refusal.value.args)


@pytest.mark.parametrize("chart", NAMES)
def test_objects_of_operators_are_installed_with_the_release(chart: str) -> None:
    text = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "{{ .Release.Name }}-text"}'
    mapping = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-mapping"}}
    found = render(chart, {"extraObjects": [text, mapping]})
    for name in ("text", "mapping"):
        assert of_kind(found, "ConfigMap", f"vp-{name}")


@pytest.mark.parametrize("chart", NAMES[:-1])
def test_services_accept_cloud_settings(chart: str) -> None:
    wanted = {"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4", "IPv6"]}
    values = {"service": {"labels": LABELS, "annotations": ANNOTATIONS, **wanted}, "global": {"ipFamilies": ["IPv6"]}}
    manifests = render(chart, values)
    for service in (m for m in manifests if m["kind"] == "Service" and m["metadata"]["name"].startswith(f"vp-{chart}")):
        assert service["spec"].items() >= wanted.items()
    service = of_kind(manifests, "Service", f"vp-{chart}")
    assert service["metadata"]["labels"].items() >= LABELS.items()
    assert service["metadata"]["annotations"].items() >= ANNOTATIONS.items()


def test_ingress_without_hosts_takes_every_host() -> None:
    values = {"ingress": {"enabled": True, "hosts": []}}
    (rule,) = of_kind(render("gateway-svc", values), "Ingress")["spec"]["rules"]
    assert rule.keys() == {"http"}


@pytest.mark.parametrize("chart", ["user-svc", "gateway-svc", "etcd"])
@pytest.mark.parametrize("least", [1, 0, "60%"])
def test_budget_has_min_available_or_max_unavailable(chart: str, least: int | str) -> None:
    replicas = {"replicaCount": 3}
    budget = of_kind(render(chart, replicas), "PodDisruptionBudget")["spec"]
    assert (budget["maxUnavailable"], "minAvailable" in budget) == (1, False)
    values = {**replicas, "podDisruptionBudget": {"minAvailable": least}}
    budget = of_kind(render(chart, values), "PodDisruptionBudget")["spec"]
    assert (budget["minAvailable"], "maxUnavailable" in budget) == (least, False)


def test_unready_services_but_no_etcd_members_are_evicted() -> None:
    manifests = render("video-platform", {"etcd": {"replicaCount": 3}})
    policies = {
        name: of_kind(manifests, "PodDisruptionBudget", f"vp-{name}")["spec"]["unhealthyPodEvictionPolicy"]
        for name in ("user-svc", "gateway-svc", "etcd")
    }
    assert policies == {"user-svc": "AlwaysAllow", "gateway-svc": "AlwaysAllow", "etcd": "IfHealthyBudget"}


@pytest.mark.parametrize("chart", ["etcd", "mysql"])
def test_claims_go_with_the_release_only_if_asked(chart: str) -> None:
    assert "persistentVolumeClaimRetentionPolicy" not in of_kind(render(chart), "StatefulSet")["spec"]
    wanted = {"whenDeleted": "Delete", "whenScaled": "Retain"}
    values = {"persistentVolumeClaimRetentionPolicy": wanted}
    assert of_kind(render(chart, values), "StatefulSet")["spec"]["persistentVolumeClaimRetentionPolicy"] == wanted
