"""The examples of a configuration find what they should, under the labels that rules and dashboards select."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "monitoring" / "scrape"

IP = "__meta_kubernetes_pod_ip"
NAME = "__meta_kubernetes_pod_name"
PHASE = "__meta_kubernetes_pod_phase"
SCRAPE = "__meta_kubernetes_pod_annotation_prometheus_io_scrape"
POD = {
    "__meta_kubernetes_namespace": "video",
    "__meta_kubernetes_pod_annotation_prometheus_io_path": "/metrics",
    "__meta_kubernetes_pod_annotation_prometheus_io_port": "9090",
    "__meta_kubernetes_pod_label_app_kubernetes_io_instance": "vp",
    "__meta_kubernetes_pod_label_app_kubernetes_io_name": "user-svc",
    IP: "10.0.0.1",
    NAME: "vp-user-svc-1",
    PHASE: "Running",
    SCRAPE: "true",
}
"""A pod of the user service, as Prometheus describes what it discovers."""


def test_prometheus_accepts_the_configuration_for_one_machine(promtool: str) -> None:
    done = subprocess.run(
        [promtool, "check", "config", FOLDER / "local.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def targets(promtool: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What the configuration for a cluster makes of these pods, one of them with two ports: labels by pod."""
    config = yaml.safe_load((FOLDER / "kubernetes.yaml").read_text(encoding="utf-8"))
    del config["rule_files"]
    (job,) = config["scrape_configs"]
    # Debian builds Prometheus without discovery in Kubernetes; what follows on that is the same for any labels.
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    job["static_configs"] = [
        {"targets": [address], "labels": POD | difference}
        for address, difference in (
            ("10.0.0.1:8888", {}),
            ("10.0.0.1:9090", {}),
            ("[fd00::1]:8888", {IP: "fd00::1", NAME: "ipv6"}),
            ("10.0.0.3:80", {IP: "10.0.0.3", NAME: "unwanted", SCRAPE: "false"}),
            ("10.0.0.4:80", {IP: "10.0.0.4", NAME: "unannotated", SCRAPE: ""}),
            ("10.0.0.5:80", {IP: "10.0.0.5", NAME: "ended", PHASE: "Failed"}),
        )
    ]
    path = tmp_path_factory.mktemp("scrape") / "prometheus.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    done = subprocess.run(
        [promtool, "check", "service-discovery", "--timeout=500ms", path, job["job_name"]],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, dict[str, str]] = {}
    for target in json.loads(done.stdout):
        if labels := target.get("labels"):
            assert found.setdefault(labels["pod"], labels) == labels
    return found


def test_only_annotated_running_pods_are_scraped(targets: dict[str, dict[str, str]]) -> None:
    assert targets.keys() == {"vp-user-svc-1", "ipv6"}


def test_targets_have_the_labels_of_rules(targets: dict[str, dict[str, str]]) -> None:
    target = targets["vp-user-svc-1"]
    assert target["__address__"] == target["instance"] == "10.0.0.1:9090"
    assert target["__metrics_path__"] == "/metrics"
    expected = {"job": "user-svc", "release": "vp", "namespace": "video", "pod": "vp-user-svc-1"}
    assert target.items() >= expected.items()


def test_an_ipv6_address_stands_in_brackets(targets: dict[str, dict[str, str]]) -> None:
    assert targets["ipv6"]["__address__"] == "[fd00::1]:9090"
