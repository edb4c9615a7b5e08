"""The rules fire when they should, stay quiet when they should not, and lead to a page that helps."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.limits import FAST_SECONDS, HASHING_SECONDS
from monitoring.rules import FILES
from monitoring.rules.alert import PREFIX, THRESHOLD
from service_kit.telemetry.metrics import LATENCY_BUCKETS
from tests.monitoring.promql import RULES, selectors

ROOT = Path(__file__).parents[2]
CASES = sorted((Path(__file__).parent / "rules").glob("*.yaml"))

ALERTS = [
    (service, rule)
    for service, file in FILES.items()
    for group in file["groups"]
    for rule in group["rules"]
    if "alert" in rule
]
NAMES = sorted({alert["alert"].removeprefix(PREFIX) for _, alert in ALERTS})


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_prometheus_accepts_the_rules(promtool: str, path: Path) -> None:
    done = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_alerts_fire_and_stay_quiet(promtool: str, path: Path) -> None:
    done = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_firing_and_silent_case() -> None:
    fires = {
        (service, case["alertname"], expected["exp_labels"]["severity"])
        for service, case in _cases()
        for expected in case["exp_alerts"]
    }
    quiet = {(service, case["alertname"]) for service, case in _cases() if not case["exp_alerts"]}
    assert fires == {(service, alert["alert"], alert["labels"]["severity"]) for service, alert in ALERTS}
    assert quiet == {(service, alert["alert"]) for service, alert in ALERTS}


def _cases() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every check of an alert, with the service whose rules it is about."""
    for path in CASES:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        (rules,) = content["rule_files"]
        for test in content["tests"]:
            for case in test["alert_rule_test"]:
                yield Path(rules).stem, case


@pytest.mark.parametrize(
    "alert", [pytest.param(alert, id=f"{alert['alert']}-{alert['labels']['severity']}") for _, alert in ALERTS]
)
def test_alerts_have_summary_description_and_runbook(alert: dict[str, Any]) -> None:
    assert alert["alert"].startswith(PREFIX)
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert all(alert["annotations"].values())
    assert (ROOT / alert["annotations"]["runbook_url"]).is_file()


def test_every_alert_has_exactly_one_runbook() -> None:
    pages = {page.stem for page in (ROOT / "docs" / "runbooks").glob("*.md")}
    assert pages == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_runbooks_have_the_three_sections(name: str) -> None:
    text = (ROOT / "docs" / "runbooks" / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["What it means", "How to check", "What to do"]


def test_latency_objectives_are_histogram_buckets() -> None:
    assert {FAST_SECONDS, HASHING_SECONDS} <= set(LATENCY_BUCKETS)


def test_the_alerts_are_listed() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| \[(\w+)\]\(runbooks/\1\.md\) \| (\w+) \|", text, re.MULTILINE))
    severities: dict[str, set[str]] = {}
    for _, alert in ALERTS:
        severities.setdefault(alert["alert"].removeprefix(PREFIX), set()).add(alert["labels"]["severity"])
    assert listed == {name: "both" if len(each) > 1 else each.pop() for name, each in severities.items()}


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_rules_can_be_kept_to_one_installation(path: Path) -> None:
    """Who installs the rules replaces the selector of the job; none may be without it."""
    job = f'job="{path.stem}"'
    for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            expr = rule["expr"].replace(job, f'{job},namespace="video",release="vp"')
            for selector in selectors(expr):
                assert {"job", "namespace", "release"} <= {matcher.name for matcher in selector.matchers.matchers}, expr


def test_thresholds_are_listed_as_they_are() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = text.partition("| alert | the number, and its default |")[2].partition("\n\n")[0]
    listed: dict[str, list[float]] = {}
    for names, what in re.findall(r"^\| ([A-Z][\w, ]+) \| (.+) \|$", table, re.MULTILINE):
        for name in names.split(", "):
            listed[name] = [float(number) for number in re.findall(r"[\d.]+", what.rpartition(":")[2])]
    expected: dict[str, list[float]] = {}
    for _, alert in ALERTS:
        if threshold := alert.get(THRESHOLD):
            numbers = expected.setdefault(alert["alert"].removeprefix(PREFIX), [])
            if float(threshold["number"]) not in numbers:
                numbers.append(float(threshold["number"]))
    assert listed == expected
