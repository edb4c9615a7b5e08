"""The pages of an operator hold commands and queries that can be used."""

import re
from pathlib import Path

import pytest

from tests.monitoring.promql import PAGES, page_queries


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_are_closed_and_name_what_they_need(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("```") % 2 == 0
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        assert set(re.findall(r"\$([A-Z_]+)", block)) <= {
            "NS",
            "RELEASE",
            "GATEWAY",
            "TOKEN",
            "MYSQL_USER",
            "MYSQL_PASSWORD_FILE",
        }


def test_every_runbook_asks_prometheus_something() -> None:
    assert {query.where for query in page_queries()} == {page.name for page in PAGES if page.parent.name == "runbooks"}
