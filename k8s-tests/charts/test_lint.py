"""What linters and the API's own schemas say of the charts."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from manifests import CHARTS, NAMES, render, tool

VERSIONS = ["1.29", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"]
"""Of Kubernetes, from the first that the charts are for."""

EVERYTHING: dict[str, dict[str, Any]] = {
    "user-svc": {"autoscaling": {"enabled": True}, "metrics": {"dashboards": {"enabled": True}}},
    "gateway-svc": {
        "autoscaling": {"enabled": True},
        "metrics": {"dashboards": {"enabled": True}},
        "service": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["192.0.2.0/24"]},
        "ingress": {"enabled": True, "tls": [{"hosts": ["video.example.com"], "secretName": "tls"}]},
    },
    "etcd": {"replicaCount": 3, "snapshot": {"enabled": True}, "defragmentation": {"enabled": True}},
    "mysql": {"extraArgs": ["--max-connections=50"], "backup": {"enabled": True}},
}
EVERYTHING["video-platform"] = {
    **EVERYTHING,
    "global": {"tls": {"enabled": True}, "registry": {"auth": {"enabled": True}}},
}


@pytest.mark.parametrize("chart", NAMES)
def test_helm_lint(chart: str, helms: list[str]) -> None:
    for helm in helms:
        command = [helm, "lint", "--strict", str(CHARTS / chart), "--values", str(CHARTS / chart / "ci/values.yaml")]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("chart", NAMES)
@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["as it is", "with everything"])
def test_manifests_are_valid(chart: str, version: str, values: dict[str, Any]) -> None:
    manifests = render(chart, values.get(chart, {}))
    assert manifests
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


EXCEPTIONS = {
    "container-image-pull-policy": "images that were loaded into kind or minikube cannot be pulled",
    "container-ephemeral-storage-request-and-limit": "a node that counts none would run no pod; emptyDirs are limited",
    "container-resources": "no CPU limits: throttling makes logins slow and etcd lose leases; any other finding counts",
    "deployment-has-host-podantiaffinity": "topologySpreadConstraints do it, and let pods share the only node",
    "statefulset-has-host-podantiaffinity": "the same",
    "container-security-context-user-group-id": "MySQL's image owns its files as 999",
    "statefulset-has-poddisruptionbudget": "MySQL is a single pod, which a budget would pin to its node",
}


@pytest.mark.parametrize("values", [{}, EVERYTHING["video-platform"]], ids=["as it is", "with everything"])
def test_kube_score(values: dict[str, Any], tmp_path: Path) -> None:
    program = tool("kube-score")
    if not program:
        pytest.skip("kube-score is neither on the PATH nor in the cache of `make charts-tools`")
    manifests = render("video-platform", values)
    file = tmp_path / "manifests.yaml"
    file.write_text(yaml.safe_dump_all(manifests))
    command = [program, "score", "--kubernetes-version", "v1.34", "--output-format", "json", str(file)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    findings = [
        (scored["object_name"], check["check"]["id"], comment["summary"])
        for scored in json.loads(run.stdout)
        for check in scored["checks"] or []
        if not check["skipped"] and check["grade"] < 10
        for comment in check["comments"] or []
    ]
    unargued = [
        finding
        for finding in findings
        if finding[1] not in EXCEPTIONS
        or (finding[1] == "container-resources" and finding[2] != "CPU limit is not set")
        or (
            finding[1] == "container-security-context-user-group-id"
            and not re.search("/vp-mysql(-backup)?$", finding[0])
        )
    ]
    assert not unargued
    needed = {finding[1] for finding in findings}
    assert needed == EXCEPTIONS.keys()
