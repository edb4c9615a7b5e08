"""What the tests of the user service share."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mariadb import Database as Scratch
from tests.support.process import Process
from tests.user_svc.client import Client, ready_client
from user_svc import dsn, schema
from user_svc.database import Database


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One service on SQLite for tests that leave it as it was: use names of your own."""
    folder = tmp_path_factory.mktemp("shared")
    with Process("user_svc", env={"LOG_LEVEL": "DEBUG"}, cwd=folder) as process, ready_client(process) as client:
        yield client


@pytest.fixture
def name() -> str:
    """A username that no other test uses, in lower case."""
    return f"u_{secrets.token_hex(6)}"


@pytest.fixture(params=["sqlite", "mariadb"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of each kind with the current schema."""
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
