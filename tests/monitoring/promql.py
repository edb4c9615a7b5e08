"""The queries of the rules, the dashboards and the pages, and what they are made of."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser
import yaml

from monitoring.generate import dashboard_files, rule_files

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DASHBOARDS = dashboard_files()
RULES = rule_files()
PAGES = sorted([DOCS / "operations.md", *(DOCS / "runbooks").glob("*.md")])

_COMPARISONS = {">", "<", ">=", "<=", "==", "!="}


class Query(NamedTuple):
    """PromQL, and where it stands."""

    where: str
    expr: str


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every panel that is not a row, with the name of its dashboard."""
    for path in DASHBOARDS:
        for panel in load(path)["panels"]:
            if panel["type"] != "row":
                yield path.stem, panel


def load(dashboard: Path) -> dict[str, Any]:
    """Return a dashboard's content."""
    content: dict[str, Any] = json.loads(dashboard.read_text(encoding="utf-8"))
    return content


def rules(*files: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every rule of these files' contents, of all that there are unless some are given."""
    for content in files or (yaml.safe_load(path.read_text(encoding="utf-8")) for path in RULES):
        for group in content["groups"]:
            yield from group["rules"]


def panel_queries() -> list[Query]:
    """Return the queries of the panels, with a value for each variable."""
    return [
        Query(f"{name}: {panel['title']} ({target['legendFormat']})", filled_in(target["expr"]))
        for name, panel in panels()
        for target in panel["targets"]
    ]


def filled_in(expr: str, rate_interval: str = "1m") -> str:
    """Return a panel's query with every instance chosen."""
    for variable in ("cluster", "namespace", "release", "job", "instance"):
        expr = expr.replace(f"${variable}", ".*")
    return expr.replace("$__rate_interval", rate_interval)


def rule_queries(*files: dict[str, Any]) -> list[Query]:
    """Return the expressions of the rules, thresholds and all; see `rules`."""
    return [Query(rule.get("record") or rule["alert"], rule["expr"]) for rule in rules(*files)]


def page_queries() -> list[Query]:
    """Return the queries in the ```promql blocks of the pages."""
    return [
        Query(page.name, expr.strip())
        for page in PAGES
        for expr in re.findall(r"^```promql\n(.+?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    ]


def measurements(*files: dict[str, Any]) -> list[Query]:
    """Return every query that should have an answer while the platform runs.

    They are of panels and, without their thresholds, of pages and of the rules in `files`, or all that there are.
    """
    compared = [*rule_queries(*files), *page_queries()]
    return [*panel_queries(), *(Query(where, part) for where, expr in compared for part in measured(expr))]


def metrics(expr: str) -> set[str]:
    """Return the names of the series that an expression selects."""
    return {selector.name for selector in selectors(expr) if selector.name}


def selectors(expr: str) -> list[promql_parser.VectorSelector]:
    """Return the selectors of an expression."""
    found: list[promql_parser.VectorSelector] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    promql_parser.walk(promql_parser.parse(expr), pre_visit=visit)
    return found


def measured(expr: str) -> list[str]:
    """Return what an expression compares with thresholds, or the expression itself when it does not compare."""
    operands: list[str] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.BinaryExpr) and str(node.op) in _COMPARISONS:
            operands.append(node.lhs.prettify())

    promql_parser.walk(promql_parser.parse(expr), pre_visit=visit)
    return operands or [expr]
