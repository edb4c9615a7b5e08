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
    """A database of each kind with the current schema, in a folder that was not there."""
    if request.param == "sqlite":
        source = dsn.sqlite(tmp_path / "deep" / "users.db")
    else:
        scratch: Scratch = request.getfixturevalue("database")
        # a machine that stands still for two seconds is no fault of the statement
        source = dsn.parse(f"{scratch.go_dsn}&readTimeout=60s&writeTimeout=60s")
    database = Database(source)
    database.ping()
    schema.upgrade(database)
    yield database
    database.close()
