"""Names follow the release, whatever it is called."""

import re
from collections import Counter

import kubernetes_validate
import pytest
from manifests import NAMES, render

RELEASES = ("a" * 53, "user-svc-gateway-svc", "gateway-svc-user-svc-2", "123", "1e3", "0x10", "a.b", "null", "true")
SERVICE = re.compile(r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$")
"""RFC 1035, which Services are held to; RFC 1123, for the rest, lets a digit come first."""
EVERYTHING = {
    "global": {"registry": {"auth": {"enabled": True}}, "imagePullSecrets": ["7"]},
    "gateway-svc": {
        "jwt": {"existingSecret": "1"},
        "metrics": {"serviceMonitor": {"enabled": True}, "dashboards": {"enabled": True}},
        "ingress": {"enabled": True, "className": "2"},
    },
    "user-svc": {"priorityClassName": "3", "serviceAccount": {"create": False, "name": "4"}},
    "mysql": {
        "persistence": {"existingClaim": "5"},
        "backup": {"enabled": True, "persistence": {"existingClaim": "8"}},
    },
    "etcd": {"persistence": {"storageClass": "6"}},
}


@pytest.mark.parametrize("release", RELEASES)
def test_a_release_may_be_called_anything(release: str) -> None:
    manifests = render("video-platform", EVERYTHING, "--namespace", "456", release=release)
    names = Counter((m["kind"], m["metadata"]["name"]) for m in manifests)
    assert set(names.values()) == {1}, names
    for manifest in manifests:
        name = manifest["metadata"]["name"]
        if not manifest["apiVersion"].startswith("monitoring.coreos.com"):
            kubernetes_validate.validate(manifest, "1.34", strict=True)
        assert manifest["metadata"]["namespace"] == "456"
        assert manifest["metadata"]["labels"]["app.kubernetes.io/instance"] == release
        assert len(name) <= (52 if manifest["kind"] in {"StatefulSet", "CronJob"} else 63)
        assert manifest["kind"] != "Service" or SERVICE.match(name), name


@pytest.mark.parametrize("chart", NAMES)
def test_a_selector_finds_the_pods(chart: str) -> None:
    for manifest in render(chart, release="123"):
        if manifest["kind"] in {"Deployment", "StatefulSet"}:
            labels = manifest["spec"]["template"]["metadata"]["labels"]
            assert manifest["spec"]["selector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize("release", ["gateway-svc", "my-gateway-svc-2"])
def test_a_name_is_not_said_twice(release: str) -> None:
    names = {m["metadata"]["name"] for m in render("gateway-svc", release=release) if m["kind"] == "Deployment"}
    assert names == {release}
