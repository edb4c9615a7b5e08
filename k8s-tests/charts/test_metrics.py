"""How Prometheus and Grafana learn of a release: annotations, monitors, rules, dashboards."""

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import CHARTS, Manifest, RefusedError, merged, nested, of_kind, pods, render
from promql_parser import MatchOp

from monitoring.rules.alert import PREFIX
from tests.monitoring.promql import selectors
from tests.monitoring.test_rules import CASES
from tests.support.prometheus import promtool_or_skip

OPERATIONS = CHARTS.parent / "docs" / "operations.md"
SERVICES = ("user-svc", "gateway-svc")
NAMESPACE = "team"
"""Into which everything is rendered."""
RUNBOOKS = "https://git.example.com/video/docs/runbooks"
RULES = {"metrics": {"prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}, "runbookUrl": RUNBOOKS}}}
DASHBOARDS = {"metrics": {"dashboards": {"enabled": True, "annotations": {"grafana_folder": "Video"}}}}


@pytest.fixture(scope="session")
def promtool() -> str:
    return promtool_or_skip()


def _pod_annotations(manifests: list[Manifest]) -> dict[str, dict[str, str]]:
    return {
        m["metadata"]["name"]: m["spec"]["template"]["metadata"].get("annotations", {})
        for m in manifests
        if "template" in m.get("spec", {})
    }


def test_pods_say_where_their_metrics_are() -> None:
    manifests = render("video-platform")
    found = _pod_annotations(manifests)
    for name, pod in pods(manifests):
        numbers = [p["containerPort"] for c in pod["containers"] for p in c.get("ports", []) if p["name"] == "metrics"]
        said = {key: value for key, value in found.get(name, {}).items() if key.startswith("prometheus.io/")}
        assert said == {
            f"prometheus.io/{key}": value
            for number in numbers
            for key, value in (("scrape", "true"), ("port", str(number)), ("path", "/metrics"))
        }, name


def test_pods_need_not_say_it() -> None:
    off = nested("metrics.annotations", False)
    annotations = _pod_annotations(render("video-platform", dict.fromkeys((*SERVICES, "etcd"), off)))
    assert [name for name, each in annotations.items() if each] == ["vp-mysql"]


@pytest.mark.parametrize("chart", [*SERVICES, "etcd"])
def test_an_operator_s_annotations_win(chart: str) -> None:
    values = {"podAnnotations": {"prometheus.io/scrape": "false", "example.com/name": "value"}}
    annotations = _pod_annotations(render(chart, values))[f"vp-{chart}"]
    assert annotations.items() > values["podAnnotations"].items()


def test_monitors_select_what_is_there() -> None:
    on = {"enabled": True, "labels": {"release": "prometheus"}}
    values = {
        "etcd": {"metrics": {"podMonitor": on}},
        "user-svc": {"metrics": {"podMonitor": on}},
        "gateway-svc": {"metrics": {"serviceMonitor": on}},
    }
    manifests = render("video-platform", values)
    for monitor in (m for m in manifests if m["kind"] == "PodMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (template,) = [
            m["spec"]["template"]
            for m in manifests
            if "template" in m.get("spec", {}) and wanted <= m["spec"]["template"]["metadata"]["labels"].items()
        ]
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] in {port["name"] for c in template["spec"]["containers"] for port in c["ports"]}
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
    monitor = of_kind(manifests, "ServiceMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    (service,) = [m for m in manifests if m["kind"] == "Service" and wanted <= m["metadata"]["labels"].items()]
    assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}


def _monitored(kind: str) -> list[Manifest]:
    values = nested(f"metrics.{kind}.enabled", True)
    charts = ("user-svc", "gateway-svc", "etcd") if kind == "podMonitor" else SERVICES
    manifests = render("video-platform", dict.fromkeys(charts, values), release="second")
    found = [m for m in manifests if m["kind"].lower() == kind.lower()]
    assert len(found) == len(charts)
    return found


@pytest.mark.parametrize("kind", ["podMonitor", "serviceMonitor"])
def test_monitors_set_the_labels_of_rules(kind: str) -> None:
    for monitor in _monitored(kind):
        spec = monitor["spec"]
        assert spec["jobLabel"] == "app.kubernetes.io/name"
        (endpoint,) = spec.get("podMetricsEndpoints") or spec["endpoints"]
        assert endpoint["relabelings"] == [{"targetLabel": "release", "replacement": "second"}]


def _rules(chart: str, release: str) -> dict[str, Any]:
    rule = of_kind(render(chart, RULES, release=release), "PrometheusRule")
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    spec: dict[str, Any] = rule["spec"]
    return spec


@pytest.mark.parametrize("chart", SERVICES)
def test_rules_look_at_their_own_release_alone(chart: str, promtool: str, tmp_path: Path) -> None:
    rules = _rules(chart, "second")
    source = yaml.safe_load((CHARTS / chart / "files" / "rules" / f"{chart}.yaml").read_text())
    assert [group["name"] for group in rules["groups"]] == [group["name"] for group in source["groups"]]
    wanted = {"job": chart, "namespace": NAMESPACE, "release": "second"}
    for group, unchanged in zip(rules["groups"], source["groups"], strict=True):
        assert len(group["rules"]) == len(unchanged["rules"])
        for rule in group["rules"]:
            for selector in selectors(rule["expr"]):
                matchers = {m.name: m.value for m in selector.matchers.matchers if m.op == MatchOp.Equal}
                assert matchers.items() >= wanted.items(), rule["expr"]
            if "alert" in rule:
                assert rule["annotations"]["runbook_url"] == f"{RUNBOOKS}/{rule['alert'].removeprefix(PREFIX)}.md"
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(rules))
    run = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def _chart_of(case: Path) -> str:
    (file,) = yaml.safe_load(case.read_text())["rule_files"]
    return Path(file).stem


def _moved(case: Path, release: str) -> dict[str, Any]:
    """A case of the rules' own tests, as it is in the namespace of a release."""
    text = case.read_text()
    for old, new in (
        ('namespace="video"', f'namespace="{NAMESPACE}"'),
        ("namespace: video", f"namespace: {NAMESPACE}"),
        (" in video", f" in {NAMESPACE}"),
        ('release="vp"', f'release="{release}"'),
        ("release: vp", f"release: {release}"),
        ("docs/runbooks", RUNBOOKS),
    ):
        text = text.replace(old, new)
    content: dict[str, Any] = yaml.load(text, yaml.BaseLoader)  # values such as 0x10 are no numbers
    return content


def _expected(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for test in content["tests"]:
        yield from test["alert_rule_test"]


def _try(promtool: str, content: dict[str, Any], rules: dict[str, Any], folder: Path) -> None:
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    (folder / "test.yaml").write_text(yaml.safe_dump(content | {"rule_files": ["rules.yaml"]}))
    command = [promtool, "test", "rules", folder / "test.yaml"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_release_rules_equal_the_general_rules(case: Path, promtool: str, tmp_path: Path) -> None:
    content = _moved(case, "second")
    for test in _expected(content):
        for alert in test["exp_alerts"]:
            # where there is no series at all, the labels are those of the selector
            alert["exp_labels"] |= {"namespace": NAMESPACE, "release": "second"}
    _try(promtool, content, _rules(_chart_of(case), "second"), tmp_path)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_another_releases_faults_raise_no_alert(case: Path, promtool: str, tmp_path: Path) -> None:
    content = _moved(case, "first")
    chart = _chart_of(case)
    here = 'up{job="%s",namespace="%s",release="second",pod="up",instance="10.0.9.9:9090"}'
    for test in content["tests"]:
        test["input_series"].append({"series": here % (chart, NAMESPACE), "values": "1x10000"})
    for test in _expected(content):
        test["exp_alerts"] = []
    _try(promtool, content, _rules(chart, "second"), tmp_path)


def test_each_generated_dashboard_is_shipped_once() -> None:
    manifests = render("video-platform", dict.fromkeys(SERVICES, DASHBOARDS))
    maps = [m for m in manifests if m["kind"] == "ConfigMap" and m["metadata"]["name"].endswith("-dashboards")]
    found = [(name, text) for m in maps for name, text in m["data"].items()]
    sources = [path for chart in SERVICES for path in (CHARTS / chart / "files" / "dashboards").iterdir()]
    assert sorted(found) == sorted((f"video-platform-{path.name}", path.read_text()) for path in sources)
    assert len({json.loads(text)["uid"] for _, text in found}) == len(found) == 3
    for m in maps:
        assert m["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert m["metadata"]["annotations"] == {"grafana_folder": "Video"}
        assert m["metadata"]["namespace"] == NAMESPACE


def test_dashboards_go_where_the_sidecar_looks() -> None:
    values = merged(DASHBOARDS, nested("metrics.dashboards.namespace", "grafana"))
    found = of_kind(render("user-svc", values), "ConfigMap", "vp-user-svc-dashboards")
    assert found["metadata"]["namespace"] == "grafana"


def test_monitoring_values_render_all_operator_objects() -> None:
    (text,) = re.findall(
        r"```yaml\n# helm install vp charts/video-platform.*?\n(.*?)```", OPERATIONS.read_text(), re.DOTALL
    )
    made = Counter(m["kind"] for m in render("video-platform", yaml.safe_load(text)))
    assert (made["PodMonitor"], made["PrometheusRule"], made["ConfigMap"]) == (3, 2, 3), "one ConfigMap is MySQL's"


def _alerts(chart: str, **settings: Any) -> dict[tuple[str, str], str]:
    """The expressions of alerts, by name and severity."""
    on = {"metrics": {"prometheusRule": {"enabled": True, **settings}}}
    groups = of_kind(render(chart, on), "PrometheusRule")["spec"]["groups"]
    return {
        (rule["alert"].removeprefix(PREFIX), rule["labels"]["severity"]): rule["expr"]
        for group in groups
        for rule in group["rules"]
        if "alert" in rule
    }


@pytest.mark.parametrize("chart", SERVICES)
def test_each_alert_can_be_left_out(chart: str) -> None:
    everything = _alerts(chart)
    off, *kept = sorted({name for name, _ in everything})
    assert _alerts(chart, disabled={off: True, kept[0]: False}) == {k: v for k, v in everything.items() if k[0] != off}
    assert _alerts(chart, disabled=dict.fromkeys([off, *kept], True)) == {}


@pytest.mark.parametrize("chart", SERVICES)
def test_each_threshold_can_be_another(chart: str, promtool: str, tmp_path: Path) -> None:
    thresholds = yaml.safe_load((CHARTS / chart / "files" / "thresholds.yaml").read_text())
    before = _alerts(chart)
    after = _alerts(chart, thresholds=dict.fromkeys(thresholds, 0.123))
    for key in before:
        assert ("0.123" in after[key]) == (key[0] in thresholds), key
        if key[0] in thresholds:
            limit = thresholds[key[0]][key[1]]
            old, new = (limit["part"].format(number) for number in (limit["number"], "0.123"))
            assert after[key] == before[key].replace(old, new)
    rules = [{"alert": name, "expr": expr} for (name, _), expr in after.items()]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "changed", "rules": rules}]}))
    subprocess.run([promtool, "check", "rules", "--lint=none", file], capture_output=True, timeout=60, check=True)


def test_threshold_can_be_another_for_one_severity() -> None:
    before, after = (_alerts("user-svc", thresholds=each) for each in ({}, {"TlsCertificateExpires": {"warning": 14}}))
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {("TlsCertificateExpires", "warning")}
    assert "< 14 * 86400" in after[changed.pop()]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"disabled": {"NoSuchAlert": True}}, "disabled: NoSuchAlert is no alert of user-svc. Those are: Database"),
        ({"thresholds": {"TargetDown": 2}}, "thresholds: TargetDown is no alert of user-svc with a threshold. Those"),
    ],
)
def test_alerts_that_there_are_not_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        _alerts("user-svc", **settings)
    assert all(f"metrics.prometheusRule.{sentence}" in said for said in refusal.value.args)


def test_rule_groups_may_use_the_default_interval() -> None:
    def intervals(**settings: Any) -> set[str | None]:
        on = {"metrics": {"prometheusRule": {"enabled": True, **settings}}}
        return {g.get("interval") for g in of_kind(render("gateway-svc", on), "PrometheusRule")["spec"]["groups"]}

    assert intervals() == {"30s"}
    assert intervals(interval="2m") == {"2m"}
    assert intervals(interval="") == {None}
