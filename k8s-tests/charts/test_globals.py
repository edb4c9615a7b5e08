"""What one release says for all of its charts, and what reaches it from others."""

from typing import Any

import pytest
from manifests import NAMES, RefusedError, containers, of_kind, pods, render

AUTH = {"registry": {"auth": {"enabled": True}}}
OTHERS = {"cattle": {"systemDefaultRegistry": "", "clusterId": "local"}, "storageClass": "fast", "imageregistry": 7}
"""A part of what Rancher adds, and what the parent chart of a company might have."""


def _images(chart: str, values: dict[str, Any]) -> set[str]:
    return {container["image"] for _, pod in pods(render(chart, values)) for container in containers(pod)}


@pytest.mark.parametrize("chart", NAMES)
def test_keys_of_others_are_accepted(chart: str) -> None:
    assert render(chart, {"global": OTHERS}) == render(chart)


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("/global/imageRegistry", {"imageRegistry": 5}),
        ("/global/imageRegistry", {"imageRegistry": "registry.example.com/"}),
        ("/global/imagePullSecrets", {"imagePullSecrets": "pull"}),
        ("/global/registry", {"registry": {"adress": "etcd:2379"}}),
        ("/global/database/port", {"database": {"port": "3306"}}),
    ],
)
def test_our_own_keys_are_checked(path: str, values: dict[str, Any]) -> None:
    with pytest.raises(RefusedError) as refusal:
        render("video-platform", {"global": values})
    assert all(f"at '{path}" in said for said in refusal.value.args)


@pytest.mark.parametrize("chart", NAMES)
def test_a_mirror_stands_in_for_every_registry(chart: str) -> None:
    before = _images(chart, {"global": AUTH})
    after = _images(chart, {"global": {**AUTH, "imageRegistry": "mirror.example.com:5000/video"}})
    assert after == {f"mirror.example.com:5000/video/{image.split('/', 1)[1]}" for image in before}


def test_a_repository_without_a_registry_is_mirrored() -> None:
    values = {"image": {"repository": "team/user-svc"}, "global": {"imageRegistry": "mirror.example.com"}}
    assert "mirror.example.com/team/user-svc:" in " ".join(_images("user-svc", values))


@pytest.mark.parametrize("form", [["pull"], [{"name": "pull"}]], ids=["names", "references"])
@pytest.mark.parametrize("chart", NAMES)
def test_every_pod_pulls_with_the_secrets(chart: str, form: list[Any]) -> None:
    found = dict(pods(render(chart, {"global": {"imagePullSecrets": form}})))
    assert found
    assert all(pod["imagePullSecrets"] == [{"name": "pull"}] for pod in found.values())


def _sidecar(chart: str, values: dict[str, Any]) -> dict[str, Any]:
    stateful = of_kind(render(chart, {**values, "global": AUTH}), "StatefulSet", "vp-etcd")
    (container,) = stateful["spec"]["template"]["spec"]["initContainers"]
    return {key: container[key] for key in ("image", "imagePullPolicy")}


OWN = {"repository": "registry.example.com/team/users", "tag": "7", "pullPolicy": "Always"}
IMAGE = {"image": "registry.example.com/team/users:7", "imagePullPolicy": "Always"}


@pytest.mark.parametrize(
    ("chart", "values"),
    [("user-svc", {"image": OWN}), ("video-platform", {"user-svc": {"image": OWN}})],
    ids=["user-svc", "video-platform"],
)
def test_etcd_sidecar_runs_the_user_service_image(chart: str, values: dict[str, Any]) -> None:
    assert _sidecar(chart, values) == IMAGE


@pytest.mark.parametrize(("chart", "path"), [("etcd", ()), ("gateway-svc", ("etcd",)), ("video-platform", ("etcd",))])
def test_etcd_sidecar_may_run_its_own_image(chart: str, path: tuple[str, ...]) -> None:
    values: dict[str, Any] = {"auth": {"image": OWN}}
    for name in path:
        values = {name: values}
    assert _sidecar(chart, values) == IMAGE
