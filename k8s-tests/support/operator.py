"""The kinds of the Prometheus operator, without the operator."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import yaml

from support.cluster import Cluster, condition, wait_until

MODULE = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
"""The Go module that carries their definitions."""

KINDS = ("podmonitors", "servicemonitors", "prometheusrules")


def definitions() -> list[Path]:
    """Return the files with the definitions, fetched through Go's own module cache.

    Raises:
        FileNotFoundError: when there is no Go.
    """
    path = os.pathsep.join([os.environ["PATH"], "/usr/local/go/bin"])
    program = shutil.which("go", path=path)
    if not program:
        raise FileNotFoundError("go is not on the PATH")
    run = subprocess.run(
        [program, "mod", "download", "-json", MODULE], capture_output=True, text=True, timeout=300, check=True
    )
    folder = Path(json.loads(run.stdout)["Dir"]) / "example" / "prometheus-operator-crd"
    return [folder / f"monitoring.coreos.com_{kind}.yaml" for kind in KINDS]


def define(cluster: Cluster) -> list[str]:
    """Make the cluster know the kinds; return the names of the definitions that it did not have before."""
    made = []
    for file in definitions():
        manifest = yaml.safe_load(file.read_text())
        name = manifest["metadata"]["name"]
        if not cluster.get("CustomResourceDefinition", name):
            cluster.create(manifest)
            made.append(name)

        def known(name: str = name) -> bool:
            found = cluster.get("CustomResourceDefinition", name)
            return found is not None and condition(found, "Established")

        wait_until(known, 30, what=name)
    return made
