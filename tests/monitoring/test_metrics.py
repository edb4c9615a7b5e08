"""What is exported, what is shown, what alerts and what is explained are the same metrics."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.monitoring.promql import DOCS, Query, metrics, page_queries, panel_queries, rule_queries, rules, selectors
from tests.monitoring.test_rules import CASES
from tests.support.certificates import Authority, Mount
from tests.support.etcd import Etcd
from tests.support.platform import Platform, admin

TARGET = {"job", "cluster", "namespace", "release", "instance", "pod"}
"""Labels that Prometheus adds."""
OWN = {"up"}
"""Metrics of Prometheus itself."""

RUNTIME = ("process_", "python_")
"""What the interpreter tells of itself; all of it is explained, not all of it is shown."""

QUERIES = [*panel_queries(), *rule_queries(), *page_queries()]


@dataclass
class Exported:
    """What both services export: for each series' name its labels, for each label its values."""

    families: set[str] = field(default_factory=set)
    series: defaultdict[str, dict[str, set[str]]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, text: str) -> None:
        for family in text_string_to_metric_families(text):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            self.families.add(name)
            for sample in family.samples:
                labels = self.series[sample.name]
                for label, value in sample.labels.items():
                    labels.setdefault(label, set()).add(value)

    @cached_property
    def family_of(self) -> dict[str, str]:
        """The metric that each series belongs to: http_x_seconds for http_x_seconds_bucket."""
        return {name: re.sub(r"_(bucket|count|sum)$", "", name) for name in self.series}


@pytest.fixture(scope="module")
def exported(etcd: Etcd, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Both services have answered, served and refused something."""
    everything = Exported()
    folder = tmp_path_factory.mktemp("platform")
    mount = Mount(folder / "tls", Authority().issue("user-svc", "gateway-svc"))
    with Platform(etcd, folder, env=mount.env("GRPC_TLS")) as platform, platform.client() as client:
        account = {"username": "testuser123", "password": "password123"}
        for path in ("/api/register", "/api/login"):
            assert client.post(path, json=account).status_code == 200
        client.get("/no/such/path")
        for process in (*platform.users, *platform.gateways):
            everything.add(admin(process, "/metrics").text)
    return everything


def test_exported_metrics_equal_shown_and_alerted_ones(exported: Exported) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    selected = set().union(*(metrics(query.expr) for query in QUERIES))
    assert recorded <= selected
    used = {exported.family_of.get(name, name) for name in selected - recorded - OWN}
    assert used <= exported.families
    assert exported.families - used == {name for name in exported.families if name.startswith(RUNTIME)} - used


def test_every_metric_is_explained(exported: Exported) -> None:
    assert _explained() == exported.families


def _explained() -> set[str]:
    """The metrics in the first column of a table of docs/operations.md."""
    text = (DOCS / "operations.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| `(\w+)(?:\{[\w, ]+\})?` \|", text, re.MULTILINE))


def test_the_labels_of_every_metric_are_explained(exported: Exported) -> None:
    text = (DOCS / "operations.md").read_text(encoding="utf-8")
    for name, labels in re.findall(r"^\| `(\w+)(?:\{([\w, ]+)\})?` \|", text, re.MULTILINE):
        series = exported.series.get(f"{name}_bucket") or exported.series[name]
        assert {label for label in labels.split(", ") if label} == series.keys() - {"le"}, name


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.where)
def test_queries_select_existing_labels_and_values(exported: Exported, query: Query) -> None:
    for selector in selectors(query.expr):
        labels = exported.series.get(selector.name or "")
        if labels is None:
            continue  # recorded, or of Prometheus itself
        for matcher in selector.matchers.matchers:
            if matcher.name in TARGET:
                continue
            assert matcher.name in labels, f"{selector.name} has no label {matcher.name}"
            exact = matcher.op in (promql_parser.MatchOp.Equal, promql_parser.MatchOp.NotEqual)
            for value in [matcher.value] if exact else matcher.value.split("|"):
                pattern = re.escape(value) if exact else value
                assert any(re.fullmatch(pattern, each) for each in labels[matcher.name]), f"{matcher}"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_alert_cases_use_exported_series(exported: Exported, path: Path) -> None:
    for selector in _input_series(path):
        name = selector.name or ""
        labels = {matcher.name: matcher.value for matcher in selector.matchers.matchers}
        assert labels.keys() >= TARGET - {"cluster"}, selector
        if name in OWN:
            continue
        assert labels.keys() - TARGET == exported.series[name].keys(), selector
        for label in labels.keys() - TARGET - {"status", "file"}:  # a path is the deployment's
            assert labels[label] in exported.series[name][label], selector


def _input_series(path: Path) -> Iterator[promql_parser.VectorSelector]:
    for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
        for series in test["input_series"]:
            yield from selectors(series["series"])
