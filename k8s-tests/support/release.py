"""Helm, as a person would use it."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from support.cluster import Manifest
from support.namespace import CHARTS, Namespace

VALUES = "K8S_TEST_VALUES"
"""Names a file of values for a cluster on which images have other names than the charts' defaults."""


class HelmError(Exception):
    """Helm refused or failed; the text is what it said."""


class Release:
    """A release in a namespace. It may not be installed yet."""

    def __init__(
        self, namespace: Namespace, name: str = "vp", chart: str | Path = "video-platform", program: str = "helm"
    ) -> None:
        self.namespace = namespace
        self.name = name
        self.program = program
        self.warnings = ""
        """What helm has written to stderr at last."""
        self.chart = chart if isinstance(chart, Path) or "://" in chart else CHARTS / chart

    def install(self, values: Mapping[str, Any], *arguments: str, timeout: int = 300) -> str:
        """Install it, and wait until everything is ready."""
        return self._deploy("install", values, arguments, timeout)

    def upgrade(self, values: Mapping[str, Any], *arguments: str, chart: Path | None = None, timeout: int = 180) -> str:
        """Upgrade it, to another chart if one is given, and wait until everything is ready."""
        self.chart = chart or self.chart
        return self._deploy("upgrade", values, arguments, timeout)

    def render(self, values: Mapping[str, Any]) -> list[Manifest]:
        """Return what an installation on this cluster would send to it, its tests included."""
        release = json.loads(self._deploy("install", values, ("--dry-run=server", "--output=json"), 60))
        texts = [release["manifest"], *(hook["manifest"] for hook in release.get("hooks", []))]
        return [manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest]

    def rollback(self, revision: int, *arguments: str, timeout: int = 180) -> str:
        """Go back to a revision, and wait until everything is ready."""
        wait = ["--wait", f"--timeout={timeout}s"]
        return self.helm("rollback", self.name, str(revision), *wait, *arguments, timeout=timeout + 30)

    def uninstall(self) -> str:
        """Uninstall it, and wait until its objects are gone."""
        return self.helm("uninstall", self.name, "--wait", "--timeout=180s", timeout=210)

    def test(self) -> str:
        """Run the release's tests and return their log."""
        self.helm("test", self.name, "--timeout=120s", timeout=150)
        return self.warnings

    def revision(self) -> int:
        """Return the number of the latest revision."""
        history = json.loads(self.helm("history", self.name, "--output=json"))
        return int(history[-1]["revision"])

    def manifest(self) -> str:
        """Return what Helm has applied."""
        return self.helm("get", "manifest", self.name)

    def _deploy(self, verb: str, values: Mapping[str, Any], arguments: tuple[str, ...], timeout: int) -> str:
        files = ["--values", os.environ[VALUES]] if os.environ.get(VALUES) else []
        wait = [] if "--wait=false" in arguments else ["--wait", f"--timeout={timeout}s"]
        command = [verb, self.name, str(self.chart), *files, "--values", "-", *wait, *arguments]
        return self.helm(*command, given=json.dumps(values), timeout=timeout + 30)

    def helm(self, *arguments: str, given: str = "", timeout: float = 60) -> str:
        """Run helm on the release's namespace and return what it prints.

        Raises:
            HelmError: when it fails, with its sentence.
        """
        program = shutil.which(self.program)
        if not program:
            raise HelmError(f"{self.program} is not on the PATH.")
        where = ["--kube-context", self.namespace.cluster.context.name, "--namespace", self.namespace.name]
        run = subprocess.run(
            [program, *arguments, *where], input=given, capture_output=True, text=True, timeout=timeout, check=False
        )
        # what Helm 3 and Helm 4 say of each symbolic link
        links = ("walk.go", "level=INFO")
        self.warnings = "\n".join(line for line in run.stderr.splitlines() if not line.startswith(links))
        if run.returncode:
            raise HelmError(self.warnings)
        return run.stdout
