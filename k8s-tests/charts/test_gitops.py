"""What docs/gitops.md says to write for each tool, rendered as that tool renders."""

import re
from typing import Any

import pytest
import yaml
from manifests import ARGO_CD, CHARTS, Manifest, RefusedError, merged, pods, render

PAGE = (CHARTS.parent / "docs" / "gitops.md").read_text()
BLOCKS = [
    document for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) for document in yaml.safe_load_all(block)
]
SEALED = {
    name: set(re.findall(r"--from-literal=([a-z-]+)=", keys))
    for name, keys in re.findall(r"^seal (\S+) (.*) >", PAGE, re.MULTILINE)
}


def _of_kind(kind: str) -> list[Manifest]:
    found = [block for block in BLOCKS if block.get("kind") == kind]
    assert found, f"no {kind} on the page"
    return found


def _values(key: str) -> dict[str, Any]:
    """The one block that is no manifest and has this key in `global`."""
    (found,) = [block for block in BLOCKS if "kind" not in block and key in block["global"]]
    return found


NAMED = _values("database")


def _mounted(manifests: list[Manifest]) -> dict[str, set[str]]:
    """The keys that pods need of each Secret."""
    needed: dict[str, set[str]] = {}
    for _, pod in pods(manifests):
        for volume in pod["volumes"]:
            if secret := volume.get("secret"):
                needed.setdefault(secret["secretName"], set()).update(item["key"] for item in secret["items"])
            for source in volume.get("projected", {}).get("sources", []):
                if not source["secret"].get("optional"):
                    items = source["secret"]["items"]
                    needed.setdefault(source["secret"]["name"], set()).update(item["key"] for item in items)
    return needed


def test_named_values_name_every_secret() -> None:
    manifests = render("video-platform", NAMED, *ARGO_CD, ci=False)
    assert "Secret" not in {manifest["kind"] for manifest in manifests}
    assert _mounted(manifests).keys() == SEALED.keys()


def test_argo_cd_renders_its_application_alike_each_time() -> None:
    (application,) = _of_kind("Application")
    source, destination = application["spec"]["source"], application["spec"]["destination"]
    assert CHARTS.parent.joinpath(source["path"], "Chart.yaml").is_file()
    first, second = (
        # Argo CD decides on hooks itself; --skip-tests only makes the second call another one
        render(
            "video-platform",
            source["helm"]["valuesObject"],
            *ARGO_CD,
            "--namespace",
            destination["namespace"],
            *more,
            ci=False,
            release=source["helm"]["releaseName"],
        )
        for more in ((), ("--skip-tests",))
    )
    assert [manifest for manifest in first if manifest["kind"] != "Pod"] == second
    assert "Secret" not in {manifest["kind"] for manifest in first}


def test_argo_cd_without_named_secrets_is_refused() -> None:
    for more in ((), ("--skip-tests",)):
        with pytest.raises(RefusedError) as refusal:
            render("video-platform", {}, *ARGO_CD, *more, ci=False)
        assert all("no cluster to look for the Secret vp-" in said for said in refusal.value.args)


def test_flux_s_values_are_accepted() -> None:
    (release,) = _of_kind("HelmRelease")
    values = merged(NAMED, release["spec"]["values"])
    assert render("video-platform", values, "--namespace", release["metadata"]["namespace"], ci=False)


def test_rancher_s_values_are_accepted() -> None:
    values = merged(NAMED, _values("cattle"))
    for name, pod in pods(render("video-platform", values, *ARGO_CD, ci=False)):
        assert pod["imagePullSecrets"] == [{"name": "registry"}], name
        assert all(container["image"].startswith("registry.example.com/") for container in pod["containers"]), name


@pytest.mark.parametrize("way", ["external", "sealed"])
def test_secrets_have_the_keys_that_pods_read(way: str) -> None:
    made = SEALED
    if way == "external":
        made = {
            external["spec"]["target"]["name"]: {data["secretKey"] for data in external["spec"]["data"]}
            for external in _of_kind("ExternalSecret")
        }
    assert made == _mounted(render("video-platform", NAMED, *ARGO_CD, ci=False))
