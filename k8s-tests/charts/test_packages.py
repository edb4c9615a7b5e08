"""The packages of `make charts-package`: whole, without links and without what only tests need."""

import json
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import CHARTS, NAMES, helms, render, tool
from support.registry import serve

VERSION = (CHARTS.parent / "VERSION").read_text().strip()
ALL = {
    "prometheusRule": {"enabled": True, "runbookUrl": "https://git.example.com/runbooks"},
    "dashboards": {"enabled": True},
}
SERVICES = {"user-svc": {"metrics": ALL}, "gateway-svc": {"metrics": ALL}}
VALUES: dict[str, dict[str, Any]] = {**SERVICES, "video-platform": SERVICES}
"""What makes charts render their files."""


def _make(helm: str, to: Path, *arguments: str) -> None:
    command = ["make", "--no-print-directory", "charts-package", f"DIST={to}", *arguments]
    subprocess.run(
        command, cwd=CHARTS.parent, env={"HELM": helm, "PATH": "/usr/bin:/bin"}, timeout=60, check=True, text=True
    )


@pytest.fixture(scope="module", params=helms(), ids=lambda path: Path(path).name)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages, made by one Helm and by the other."""
    to = tmp_path_factory.mktemp("dist")
    _make(request.param, to)
    return to / "charts"


def _members(package: Path) -> list[tarfile.TarInfo]:
    with tarfile.open(package) as archive:
        return archive.getmembers()


@pytest.mark.parametrize("chart", NAMES)
def test_package_holds_plain_files_alone(folder: Path, chart: str) -> None:
    members = _members(folder / f"{chart}-{VERSION}.tgz")
    assert len(members) > 10
    assert [member.name for member in members if not member.isfile()] == []


@pytest.mark.parametrize("chart", NAMES)
def test_package_leaves_out_what_tests_need(folder: Path, chart: str) -> None:
    names = {member.name for member in _members(folder / f"{chart}-{VERSION}.tgz")}
    assert [name for name in names if re.search(r"/ci/|\.orig$|~$", name)] == []
    wanted = {path.relative_to(CHARTS) for path in (CHARTS / chart).rglob("*") if path.is_file()}
    assert {str(path) for path in wanted if "ci" not in path.parts} <= names


@pytest.mark.parametrize("chart", NAMES)
def test_package_renders_as_the_folder_does(folder: Path, chart: str, helms: list[str]) -> None:
    values = VALUES.get(chart, {})
    for helm in helms:
        command = [helm, "template", "vp", folder / f"{chart}-{VERSION}.tgz", "--namespace", "team"]
        command += ["--values", "-", "--values", CHARTS / chart / "ci" / "values.yaml"]
        run = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, timeout=60, check=True)
        packaged = [manifest for manifest in yaml.safe_load_all(run.stdout) if manifest]
        assert sorted(map(str, packaged)) == sorted(map(str, render(chart, values)))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """Where charts go in an empty registry."""
    program = tool("registry")
    if not program:
        pytest.skip("registry is neither on the PATH nor in the cache of `make cluster-docker`")
    with serve(program, tmp_path) as address:
        yield address


def test_what_is_pushed_renders_from_the_registry(registry: str, helms: list[str], tmp_path: Path) -> None:
    for pusher in helms:
        _make(pusher, tmp_path, f"PUSH={registry}", "PUSH_FLAGS=--plain-http")
        for helm in helms:
            command = [helm, "template", "vp", f"{registry}/video-platform", "--version", VERSION, "--plain-http"]
            command += ["--namespace", "team", "--values", CHARTS / "video-platform" / "ci" / "values.yaml"]
            run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
            pulled = [manifest for manifest in yaml.safe_load_all(run.stdout) if manifest]
            assert sorted(map(str, pulled)) == sorted(map(str, render("video-platform")))


def _chart(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CHARTS / name / "Chart.yaml").read_text())
    return loaded


@pytest.mark.parametrize("chart", NAMES)
def test_catalogues_get_what_they_show(chart: str) -> None:
    known = _chart(chart)
    assert {"home", "sources", "maintainers", "keywords", "icon", "kubeVersion"} <= known.keys()
    assert known["annotations"]["artifacthub.io/license"] == "Apache-2.0"
    assert all(link.keys() == {"name", "url"} for link in yaml.safe_load(known["annotations"]["artifacthub.io/links"]))


def test_umbrella_s_readme_names_values_that_exist() -> None:
    readme = (CHARTS / "video-platform" / "README.md").read_text()
    table = readme.partition("## Values that are set first")[2].partition("## Values")[0]
    paths = re.findall(r"`([a-z-]+(?:\.[A-Za-z]+)+)`", table.replace("`values-production.yaml`", ""))
    assert len(paths) > 20
    for path in paths:
        chart, _, rest = path.partition(".")
        value = yaml.safe_load(
            (CHARTS / ("video-platform" if chart == "global" else chart) / "values.yaml").read_text()
        )
        for key in (path if chart == "global" else rest).split("."):
            value = value[key]
