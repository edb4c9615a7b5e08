"""The dashboards are what a current Grafana can show, and every panel asks something and says what."""

import re
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from monitoring import limits
from tests.monitoring.promql import DASHBOARDS, load, metrics, panel_queries, panels

PANELS = [pytest.param(panel, id=f"{name}: {panel['title']}") for name, panel in panels()]
UNITS = {value for name, value in vars(units).items() if name[0].isupper()}

dashboards = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)


@dashboards
def test_a_dashboard_keeps_to_the_schema(path: Path) -> None:
    content = load(path)
    known = _plain(Dashboard.from_json(content))  # drops what the schema does not have
    for link in known["links"]:
        del link["placement"]  # may be left out, and the models then say otherwise
    assert known == content
    assert content["schemaVersion"] == Dashboard().schema_version


def _plain(value: Any) -> Any:
    if hasattr(value, "to_json"):
        return _plain(value.to_json())
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


@dashboards
def test_dashboards_and_panels_have_unique_ids(path: Path) -> None:
    ids = [panel["id"] for panel in load(path)["panels"]]
    assert sorted(set(ids)) == sorted(ids)
    assert len({load(other)["uid"] for other in DASHBOARDS}) == len(DASHBOARDS)


@dashboards
def test_panels_do_not_overlap(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in load(path)["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells


@dashboards
def test_a_dashboard_has_the_variables_that_it_uses(path: Path) -> None:
    content = load(path)
    names = [variable["name"] for variable in content["templating"]["list"]]
    assert names == ["datasource", "cluster", "namespace", "release", "job", "instance"]
    used = set(re.findall(r"\$\{?(\w+)", path.read_text(encoding="utf-8")))
    assert used - {"__rate_interval", "__all"} == set(names)


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert len(panel["description"]) > 20
    assert panel["title"].endswith("?")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize("query", panel_queries(), ids=lambda query: query.where)
def test_a_query_is_promql(query: tuple[str, str]) -> None:
    assert metrics(query[1])


def test_red_begins_where_an_alert_does() -> None:
    red = {
        step["value"]
        for _, panel in panels()
        if panel["type"] == "timeseries"
        for step in panel["fieldConfig"]["defaults"].get("thresholds", {"steps": []})["steps"]
        if step["color"] == "red"
    }
    assert red == {
        max(burn.factor for burn in limits.BURNS),
        limits.HASHING_SECONDS,
        limits.FAST_SECONDS,
        limits.SNAPSHOT_AGE,
        limits.REGISTRATIONS,
        limits.REFUSED_HASHES,
        limits.POOL_IN_USE,
        limits.BAD_TOKENS,
    }
