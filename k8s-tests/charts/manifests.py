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

ON_A_CLUSTER = ("--api-versions", "v1/Secret", "--kube-version", "1.34.0")
"""What makes `helm template` look like a cluster, on which nothing is installed yet."""


def tool(name: str) -> str | None:
    """The path of a program: on the PATH, or in the cache of `make cluster`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "video-platform-cluster" / "bin"
    cached = sorted(cache.glob(f"*/{name}"), key=lambda path: path.stat().st_mtime)
    return shutil.which(name) or (str(cached[-1]) if cached else None)


class RefusedError(Exception):
    """Helm refused the values; the text is what a person would read."""


def render(
    chart: str, values: Mapping[str, Any] | None = None, *arguments: str, ci: bool = True, release: str = "vp"
) -> list[Manifest]:
    """The manifests of a chart, with the Secrets of its ci/values.yaml unless told otherwise.

    Raises:
        RefusedError: when Helm refuses the values.
    """
    text = _template(chart, json.dumps(values or {}), arguments, ci, release)
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


@functools.cache
def _template(chart: str, values: str, arguments: tuple[str, ...], ci: bool, release: str) -> str:
    helm = tool("helm")
    assert helm, "the fixture `helm` was not asked for"
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
    run = subprocess.run(command, input=values, capture_output=True, text=True, timeout=60, check=False)
    if run.returncode:
        raise RefusedError("\n".join(line for line in run.stderr.splitlines() if not line.startswith("walk.go")))
    return run.stdout


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
