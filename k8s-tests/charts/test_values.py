"""Every value has an effect, and only a legal one is taken."""

import importlib
import itertools
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml
from manifests import CHARTS, NAMES, merged, nested, render, tool


@dataclass
class Needs:
    """What must be set for a value to have an effect."""

    also: dict[str, Any] = field(default_factory=dict)
    """Values by path, before and after the change."""
    after: dict[str, Any] = field(default_factory=dict)
    """Values by path that go with the change itself."""
    before: Any = None
    """What the value is before the change, when not its default."""


OWN_ETCD_OFF = {"etcd.enabled": False}
ON_A_CLUSTER = {("gateway-svc", "jwt.secret"), ("gateway-svc", "jwt.previousSecrets")}
ON_A_CLUSTER |= {("mysql", "auth.password"), ("mysql", "auth.rootPassword")}
ON_A_CLUSTER |= {(chart, "global.tls.caSecret") for chart in NAMES}
"""Values of a Secret, which is made on a cluster alone: k8s-tests/test_helms.py and test_tls.py test them."""

TLS = {"global.tls.enabled": True}
ISSUED = {**TLS, "global.tls.certManager.issuerRef": {"name": "before"}}
CERTIFICATES = {
    "tls.": Needs(TLS),
    "global.tls.enabled": Needs(),
    "global.tls.certManager.": Needs({**ISSUED, "tls.existingSecret": ""}),
    "global.tls.certManager.issuerRef": Needs({**ISSUED, "tls.existingSecret": ""}, before={"name": "before"}),
}
ANOTHERS_ETCD = {"etcd.enabled": False, "global.registry.address": "https://etcd.example.com:2379"}

# By the start of the value's path; the longest match counts.
SERVICES = {
    **CERTIFICATES,
    "global.registry.tls.": Needs({**ANOTHERS_ETCD, "global.registry.tls.existingSecret": "their-etcd"}),
    "global.registry.tls.existingSecret": Needs(ANOTHERS_ETCD, before="before"),
    "autoscaling.": Needs({"autoscaling.enabled": True}),
    "metrics.podMonitor.": Needs({"metrics.podMonitor.enabled": True}),
    "metrics.serviceMonitor.": Needs({"metrics.serviceMonitor.enabled": True}),
    "metrics.prometheusRule.": Needs({"metrics.prometheusRule.enabled": True}),
    "metrics.dashboards.": Needs({"metrics.dashboards.enabled": True}),
    "global.registry.address": Needs(OWN_ETCD_OFF, before="before.example.com:2379"),
    "global.registry.auth.": Needs({"global.registry.auth.enabled": True}),
    "global.registry.auth.enabled": Needs(),
    "autoscaling.enabled": Needs(),
    "metrics.podMonitor.enabled": Needs(),
    "metrics.serviceMonitor.enabled": Needs(),
    "metrics.prometheusRule.enabled": Needs(),
    "metrics.dashboards.enabled": Needs(),
}
NEEDS: dict[str, dict[str, Needs]] = {
    "user-svc": {
        **SERVICES,
        "global.database.host": Needs({"mysql.enabled": False}, before="before.example.com"),
        "global.database.port": Needs({"mysql.enabled": False, "global.database.host": "db.example.com"}),
        "etcd.enabled": Needs({"register": False}),
        "mysql.enabled": Needs(after={"global.database.host": "db.example.com"}),
    },
    "gateway-svc": {
        **SERVICES,
        "service.nodePort": Needs({"service.type": "NodePort"}),
        "service.externalTrafficPolicy": Needs({"service.type": "NodePort"}),
        "service.loadBalancer": Needs({"service.type": "LoadBalancer"}),
        "ingress.": Needs({"ingress.enabled": True}),
        "ingress.enabled": Needs(),
        "httpRoute.": Needs({"httpRoute.enabled": True}),
        "httpRoute.enabled": Needs(),
        "etcd.enabled": Needs({"userService.target": "dns:///user-svc:8888"}),
    },
    "etcd": {
        **CERTIFICATES,
        "global.registry.": Needs({"global.registry.auth.enabled": True}),
        "global.registry.auth.enabled": Needs(),
        "auth.": Needs({"global.registry.auth.enabled": True}),
        "auth.image.": Needs(
            {"global.registry.auth.enabled": True, "auth.image.repository": "registry.example.com/users"}
        ),
        "auth.image.repository": Needs({"global.registry.auth.enabled": True}),
        "podDisruptionBudget.": Needs({"replicaCount": 3}),
        "snapshot.": Needs({"snapshot.enabled": True}),
        "snapshot.enabled": Needs(),
        "defragmentation.": Needs({"defragmentation.enabled": True}),
        "defragmentation.enabled": Needs(),
        "metrics.podMonitor.": Needs({"metrics.podMonitor.enabled": True}),
        "metrics.podMonitor.enabled": Needs(),
    },
    "mysql": {**CERTIFICATES, "backup.": Needs({"backup.enabled": True}), "backup.enabled": Needs()},
    "video-platform": {
        "global.tls.enabled": Needs(),
        "global.tls.certManager.": Needs({**ISSUED, "mysql.tls.existingSecret": ""}),
        "global.tls.certManager.issuerRef": Needs(
            {**ISSUED, "mysql.tls.existingSecret": ""}, before={"name": "before"}
        ),
        "global.registry.tls.": Needs({**ANOTHERS_ETCD, "global.registry.tls.existingSecret": "their-etcd"}),
        "global.registry.tls.existingSecret": Needs(ANOTHERS_ETCD, before="before"),
        "global.registry.address": Needs(OWN_ETCD_OFF, before="before.example.com:2379"),
        "global.registry.auth.": Needs({"global.registry.auth.enabled": True}),
        "global.registry.auth.enabled": Needs(),
        "global.database.host": Needs({"mysql.enabled": False}, before="before.example.com"),
        "global.database.port": Needs({"mysql.enabled": False, "global.database.host": "db.example.com"}),
        "etcd.enabled": Needs(after={"global.registry.address": "etcd.example.com:2379"}),
        "mysql.enabled": Needs(after={"global.database.host": "db.example.com"}),
    },
}


def _values(chart: str) -> dict[str, Any]:
    return yaml.safe_load((CHARTS / chart / "values.yaml").read_text())


def _schema(chart: str) -> dict[str, Any]:
    return json.loads((CHARTS / chart / "values.schema.json").read_text())


def _leaves(values: dict[str, Any], rule: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """The values by path, with what the schema says of each; what is Kubernetes' or an operator's own is one value."""
    for name, value in values.items():
        own = rule["properties"][name]
        if "properties" in own:
            yield from _leaves(value, own, f"{path}{name}.")
        else:
            yield f"{path}{name}", value, own


def _all(chart: str) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    return _leaves(_values(chart), _schema(chart))


OTHERS = [
    True,
    False,
    3,
    12,
    2**30,
    0,
    "a: b #c",
    "other",
    {"example.com/name": "value"},
    [{"name": "other"}],
    ["other"],
]


def _another(rule: dict[str, Any], value: Any) -> Any:
    """A value that the schema accepts and that is not this one."""
    fits = jsonschema.Draft202012Validator(rule).is_valid
    choices = [*rule.get("enum", []), *rule.get("examples", []), *OTHERS]
    return next(choice for choice in choices if choice != value and fits(choice))


LEAVES = [(chart, *leaf) for chart in NAMES for leaf in _all(chart)]
IDS = [f"{chart}-{path}" for chart, path, _, _ in LEAVES]


@pytest.mark.parametrize(("chart", "path", "value", "rule"), LEAVES, ids=IDS)
def test_every_value_has_an_effect(chart: str, path: str, value: Any, rule: dict[str, Any]) -> None:
    if "const" in rule or (chart, path) in ON_A_CLUSTER:
        return
    fitting = [start for start in NEEDS[chart] if path.startswith(start)]
    needs = NEEDS[chart][max(fitting, key=len)] if fitting else Needs()
    before = value if needs.before is None else needs.before
    also = [nested(*item) for item in needs.also.items()]
    start = merged(*also, *([] if needs.before is None else [nested(path, before)]))
    change = merged(*also, *(nested(*item) for item in needs.after.items()), nested(path, _another(rule, before)))

    assert render(chart, start, both=False) != render(chart, change, both=False)


WRONG: dict[str, Any] = {
    "string": "two",
    "integer": 7,
    "boolean": True,
    "array": [[]],
    "object": {"unknown": {"key": []}},
}


@pytest.mark.parametrize(("chart", "path", "value", "rule"), LEAVES, ids=IDS)
def test_every_illegal_value_is_refused(chart: str, path: str, value: Any, rule: dict[str, Any]) -> None:
    types = rule.get("type", [])
    legal = {types} if isinstance(types, str) else set(types)
    legal |= {"integer"} if "number" in legal else set()
    # What is Kubernetes' own may have any key.
    checked = {"array"} if "additionalProperties" not in rule else {"array", "object"}
    wrong = [illegal for kind, illegal in WRONG.items() if kind not in legal or kind in checked]
    if "enum" in rule or "const" in rule:
        wrong = ["something else", 2, ["a list"]]
    if "minimum" in rule:
        wrong.append(rule["minimum"] - 1)
    if "maximum" in rule:
        wrong.append(rule["maximum"] + 1)
    schema = jsonschema.Draft202012Validator(_schema(chart))

    assert schema.is_valid(_values(chart))
    assert len(wrong) >= 3
    for illegal in wrong:
        assert not schema.is_valid(merged(_values(chart), nested(path, None), nested(path, illegal))), illegal


@pytest.mark.parametrize("chart", NAMES)
def test_unknown_keys_are_refused_at_every_level(chart: str) -> None:
    schema = jsonschema.Draft202012Validator(_schema(chart))
    parents = {path.rpartition(".")[0] for path, _, _ in _all(chart)}
    # Keys of these are a subchart's or anybody's.
    parents -= {"gateway-svc", "user-svc", "etcd", "mysql", "global"}
    for parent in parents:
        if not parent.startswith(("gateway-svc.", "user-svc.")):
            unknown = f"{parent}.unknown" if parent else "unknown"
            assert not schema.is_valid(merged(_values(chart), nested(unknown, "value"))), unknown


def test_charts_agree_on_globals() -> None:
    found = {chart: {path: value for path, value, _ in _all(chart) if path.startswith("global.")} for chart in NAMES}
    umbrella = found["video-platform"]
    for chart in NAMES:
        assert found[chart].items() <= umbrella.items()
    assert {path for chart in NAMES[:-1] for path in found[chart]} == umbrella.keys()


@pytest.fixture
def schemas(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(CHARTS))
    return importlib.import_module("schemas")


def test_every_rule_applies_to_a_value(schemas: ModuleType) -> None:
    paths = [f".{chart}.{path}" for chart, path, _, _ in LEAVES]
    assert [end for end in schemas.RULES if not any(path.endswith(f".{end}") for path in paths)] == []


@pytest.mark.parametrize("chart", NAMES)
def test_schema_is_what_schemas_py_writes(chart: str, schemas: ModuleType) -> None:
    assert (CHARTS / chart / "values.schema.json").read_text() == schemas.text(chart), "run `make charts-schema`"


@pytest.mark.parametrize("chart", NAMES)
def test_every_value_has_a_comment(chart: str) -> None:
    lines = (CHARTS / chart / "values.yaml").read_text().splitlines()
    known: set[str] = set()
    path: list[str] = []
    for previous, line in itertools.pairwise(lines):
        if key := re.match(r"( *)([\w-]+):", line):
            path = [*path[: len(key[1]) // 2], key[2]]
            if previous.strip().startswith("# -- "):
                known.add(".".join(path))
    for leaf, _, _ in _all(chart):
        assert any(leaf == name or leaf.startswith(f"{name}.") for name in known), leaf


@pytest.mark.parametrize("chart", NAMES)
def test_readme_is_what_helm_docs_writes(chart: str) -> None:
    program = tool("helm-docs")
    if not program:
        pytest.skip("helm-docs is neither on the PATH nor in the cache of `make charts-tools`")
    command = [program, "--chart-search-root", "charts", "--chart-to-generate", f"charts/{chart}", "--dry-run"]
    command += ["--sort-values-order", "file", "--template-files", "./README.md.gotmpl", "--skip-version-footer"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=CHARTS.parent, timeout=60, check=True)
    readme = (CHARTS / chart / "README.md").read_text()
    assert run.stdout.strip() == readme.strip(), "run `make charts-docs`"
