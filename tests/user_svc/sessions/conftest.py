"""Databases of each kind, with the current schema."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mariadb import Database as Scratch
from user_svc import dsn, schema
from user_svc.database import Database


@pytest.fixture(params=["sqlite", "mariadb"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        source = dsn.sqlite(tmp_path / "users.db")
    else:
        scratch: Scratch = request.getfixturevalue("database")
        source = dsn.parse(scratch.go_dsn)
    database = Database(source)
    database.ping()
    schema.upgrade(database)
    yield database
    database.close()
