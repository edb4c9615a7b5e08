"""What skaffold.yaml says, without a cluster or a Docker daemon."""

import ast
import shutil
import subprocess
from typing import Any

import pytest
import yaml
from manifests import CHARTS, Manifest, containers, of_kind, render, tool

ROOT = CHARTS.parent
DEBUG = ROOT / "charts" / "values-debug.yaml"


@pytest.fixture(scope="module")
def debugged() -> list[Manifest]:
    return render("video-platform", {}, "--values", str(DEBUG))


@pytest.mark.parametrize("service", ["gateway-svc", "user-svc"])
def test_nothing_restarts_a_process_at_a_breakpoint(debugged: list[Manifest], service: str) -> None:
    spec = of_kind(debugged, "Deployment", f"vp-{service}")["spec"]
    (container,) = containers(spec["template"]["spec"])
    assert spec["replicas"] == 1
    assert not {"livenessProbe", "startupProbe"} & container.keys()
    assert "readinessProbe" in container


def test_a_process_at_a_breakpoint_stays_registered(debugged: list[Manifest]) -> None:
    (container,) = containers(of_kind(debugged, "Deployment", "vp-user-svc")["spec"]["template"]["spec"])
    assert {"name": "REGISTRY_TTL", "value": "3600"} in container["env"]


def _diagnosed(profile: str) -> dict[str, Any]:
    program = shutil.which("skaffold") or tool("skaffold")
    if not program:
        pytest.skip("skaffold is neither on the PATH nor in the cache of `make cluster-docker`")
    command = [program, "diagnose", "--yaml-only", "--profile", profile, "--profile-auto-activation=false"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    config: dict[str, Any] = yaml.safe_load(run.stdout)
    return config


def test_debugging_takes_those_values() -> None:
    (release,) = _diagnosed("debug")["deploy"]["helm"]["releases"]
    assert [ROOT / file for file in release["valuesFiles"]] == [DEBUG]


@pytest.mark.parametrize("profile", ["dev", "debug"])
def test_profile_builds_and_tags_its_target(profile: str) -> None:
    build = _diagnosed(profile)["build"]
    assert [artifact["docker"]["target"] for artifact in build["artifacts"]] == [profile] * 2
    assert build["tagPolicy"]["customTemplate"]["template"].startswith(f"{profile}-")


@pytest.mark.parametrize("profile", ["kind", "minikube", "local", "dev", "debug", "render"])
def test_skaffold_takes_every_profile(profile: str) -> None:
    assert len(_diagnosed(profile)["build"]["artifacts"]) == 2


def test_verification_runs_in_a_built_image() -> None:
    config = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
    (verification,) = config["verify"]
    container = verification["container"]
    assert container["image"] in {artifact["image"] for artifact in config["build"]["artifacts"]}
    assert container["command"] == ["python", "-c"]
    ast.parse(container["args"][0])
