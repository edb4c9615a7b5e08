"""Charts rendered by Helm and read back."""

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

CHARTS = Path(__file__).resolve().parents[2] / "charts"
NAMES = ("etcd", "mysql", "user-svc", "gateway-svc", "video-platform")

Manifest = dict[str, Any]

HELMS = ("helm", "helm4")
"""Helm 3 and Helm 4; the charts must render alike under both."""

ARGO_CD = ("--kube-version", "1.34.0", "--api-versions", "v1", "--api-versions", "v1/Secret", "--include-crds")
"""What Argo CD gives `helm template`: the versions of the cluster that it deploys to, which it does not ask."""


def tool(name: str) -> str | None:
    """The path of a program: on the PATH, or in the cache of `make cluster`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "video-platform-cluster" / "bin"
    cached = sorted(cache.glob(f"*/{name}"), key=lambda path: path.stat().st_mtime)
    return shutil.which(name) or (str(cached[-1]) if cached else None)


class RefusedError(Exception):
    """Helm refused the values; the arguments are what a person would read, from each Helm."""


def render(
    chart: str,
    values: Mapping[str, Any] | None = None,
    *arguments: str,
    ci: bool = True,
    release: str = "vp",
    both: bool = True,
) -> list[Manifest]:
    """The manifests of a chart, with the Secrets of its ci/values.yaml unless told otherwise.

    Both Helms must give the same, unless one is enough: hundreds of renderings take their time.

    Raises:
        RefusedError: when Helm refuses the values.
    """
    runs = [
        _template(helm, chart, json.dumps(values or {}), arguments, ci, release) for helm in helms()[: 2 if both else 1]
    ]
    refusals = [run.stderr for run in runs if run.returncode]
    if refusals:
        assert len(refusals) == len(runs), "one Helm refuses and the other does not"
        raise RefusedError(*refusals)
    first, *others = [[manifest for manifest in _load(run.stdout) if manifest] for run in runs]
    assert all(sorted(map(str, other)) == sorted(map(str, first)) for other in others), "the Helms render differently"
    return first


def _load(text: str) -> Iterator[Manifest]:
    return yaml.load_all(text, yaml.CSafeLoader)


@functools.cache
def helms() -> list[str]:
    """The paths of both."""
    return [path for path in map(tool, HELMS) if path]


@functools.cache
def _template(
    helm: str, chart: str, values: str, arguments: tuple[str, ...], ci: bool, release: str
) -> subprocess.CompletedProcess[str]:
    files = ["--values", str(CHARTS / chart / "ci" / "values.yaml")] if ci else []
    command = [
        helm,
        "template",
        release,
        str(CHARTS / chart),
        "--namespace",
        "team",
        *files,
        "--values",
        "-",
        *arguments,
    ]
    return subprocess.run(command, input=values, capture_output=True, text=True, timeout=60, check=False)


def of_kind(manifests: list[Manifest], kind: str, name: str | None = None) -> Manifest:
    """The one manifest of this kind, and of this name when there are several."""
    found = [m for m in manifests if m["kind"] == kind and name in {None, m["metadata"]["name"]}]
    assert len(found) == 1, f"{len(found)} of kind {kind} with name {name}"
    return found[0]


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """The name and the spec of every pod, the one of `helm test` included."""
    for manifest in manifests:
        if manifest["kind"] == "Pod":
            yield manifest["metadata"]["name"], manifest["spec"]
        elif manifest["kind"] == "CronJob":
            yield manifest["metadata"]["name"], manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        elif "template" in manifest.get("spec", {}):
            yield manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]


def containers(pod: Manifest) -> list[Manifest]:
    """All containers of a pod spec."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def nested(path: str, value: Any) -> dict[str, Any]:
    """`a.b` and 1 make `{"a": {"b": 1}}`."""
    for part in reversed(path.split(".")):
        value = {part: value}
    return value


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Values on top of each other, the later ones winning."""
    result: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            known = result.get(key)
            both = isinstance(known, Mapping) and isinstance(value, Mapping)
            result[key] = merged(known, value) if both else value
    return result
