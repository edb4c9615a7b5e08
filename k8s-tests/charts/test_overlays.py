"""podSpec, deploymentSpec and statefulSetSpec: all that Kubernetes knows, laid over what is ours."""

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml
from manifests import CHARTS, Manifest, merged, nested, of_kind, render
from test_lint import VERSIONS

WORKLOADS = {"user-svc": "Deployment", "gateway-svc": "Deployment", "etcd": "StatefulSet", "mysql": "StatefulSet"}
PAGE = (CHARTS.parent / "docs" / "kubernetes.md").read_text()


def _spec(kind: str) -> str:
    return f"{kind[0].lower()}{kind[1:]}Spec"


def _workload(chart: str, values: dict[str, Any]) -> Manifest:
    return of_kind(render(chart, values), WORKLOADS[chart])


def _pod(chart: str, over: dict[str, Any]) -> Manifest:
    pod: Manifest = _workload(chart, {"podSpec": over})["spec"]["template"]["spec"]
    return pod


def _container(pod: Manifest, name: str) -> Manifest:
    (found,) = [c for c in pod["containers"] if c["name"] == name]
    return found


@pytest.mark.parametrize("chart", WORKLOADS)
def test_what_is_laid_over_adds_to_ours(chart: str) -> None:
    over = {
        "runtimeClassName": "gvisor",
        "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
        "securityContext": {"fsGroupChangePolicy": "Always"},
        "containers": [
            {
                "name": chart,
                "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
                "env": [{"name": "EXTRA", "value": "1"}],
            },
            {"name": "agent", "image": "registry.example.com/agent:1"},
        ],
        "volumes": [{"name": "extra", "emptyDir": {}}],
    }
    before, after = _pod(chart, {}), _pod(chart, over)
    assert after.items() >= {k: v for k, v in over.items() if k in {"runtimeClassName", "dnsConfig"}}.items()
    assert after["securityContext"] == merged(before["securityContext"], over["securityContext"])
    assert [c["name"] for c in after["containers"]] == [chart, "agent"]
    ours, was = _container(after, chart), _container(before, chart)
    assert ours["env"] == [*was["env"], {"name": "EXTRA", "value": "1"}]
    assert {k: v for k, v in ours.items() if k not in {"env", "lifecycle"}} == {
        k: v for k, v in was.items() if k != "env"
    }
    assert after["volumes"] == [*before.get("volumes", []), {"name": "extra", "emptyDir": {}}]


def test_what_is_laid_over_wins_and_null_removes() -> None:
    over = {
        "terminationGracePeriodSeconds": 90,
        "containers": [
            {
                "name": "user-svc",
                "livenessProbe": None,
                "env": [{"name": "LOG_LEVEL", "value": "DEBUG"}],
                "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "scratch", "emptyDir": {}}],
    }
    pod = _pod("user-svc", over)
    container = _container(pod, "user-svc")
    assert pod["terminationGracePeriodSeconds"] == 90
    assert "livenessProbe" not in container
    assert {"name": "LOG_LEVEL", "value": "DEBUG"} in container["env"]
    assert [mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == "/tmp"] == ["scratch"]
    assert {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}} in pod["volumes"]


def test_mysql_s_two_mounts_of_one_volume_stay() -> None:
    over = {"containers": [{"name": "mysql", "volumeMounts": [{"name": "data", "mountPath": "/more"}]}]}
    mounts = _container(_pod("mysql", over), "mysql")["volumeMounts"]
    assert [m["mountPath"] for m in mounts if m["name"] == "data"] == [
        "/var/lib/mysql",
        "/var/lib/mysql-volume",
        "/more",
    ]


@pytest.mark.parametrize("chart", WORKLOADS)
def test_workload_spec_overrides_apply(chart: str) -> None:
    name = _spec(WORKLOADS[chart])
    spec = _workload(chart, {name: {"minReadySeconds": 7, "template": {"metadata": {"labels": {"a": "b"}}}}})["spec"]
    assert spec["minReadySeconds"] == 7
    assert spec["template"]["metadata"]["labels"].items() >= spec["selector"]["matchLabels"].items()
    assert spec["template"]["metadata"]["labels"]["a"] == "b"


@pytest.mark.parametrize("chart", ["user-svc", "gateway-svc"])
def test_strategy_can_be_another(chart: str) -> None:
    values = {"deploymentSpec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}}
    strategy = _workload(chart, values)["spec"]["strategy"]
    assert strategy["type"] == "Recreate"
    assert not strategy.get("rollingUpdate")


def _examples() -> list[dict[str, Any]]:
    found = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
    return [values for values in found if "podSpec" in str(values)]


@pytest.mark.parametrize("version", VERSIONS)
def test_examples_of_the_page_are_what_kubernetes_takes(version: str) -> None:
    examples = _examples()
    assert examples
    for values in examples:
        for manifest in render("video-platform", values):
            kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize(("path", "kind"), [("podSpec", "Deployment"), ("deploymentSpec", "Deployment")])
def test_unknown_fields_are_kubernetes_to_refuse(path: str, kind: str) -> None:
    manifest = of_kind(render("user-svc", nested(f"{path}.noSuchField", 1)), kind)
    for version in VERSIONS:
        with pytest.raises(kubernetes_validate.ValidationError, match="noSuchField"):
            kubernetes_validate.validate(manifest, version, strict=True)


def test_probe_s_handler_can_be_another() -> None:
    values = {"livenessProbe": {"tcpSocket": {"port": 8888}}}
    container = _container(_workload("user-svc", values)["spec"]["template"]["spec"], "user-svc")
    assert container["livenessProbe"].keys() & {"httpGet", "tcpSocket", "grpc", "exec"} == {"tcpSocket"}
