"""Database servers that the tests of this room may stop, one test after the other."""

from collections.abc import Iterator

import pytest

from tests.support.mariadb import Database, Server, server_binary
from user_svc import database, dsn, schema


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """Two servers that share nothing."""
    if server_binary() is None:
        pytest.skip("neither mariadbd nor mysqld is on the PATH")
    limit = "--max-user-connections=400"  # where there is none at the start, none can be set later
    with (
        Server.create(tmp_path_factory.mktemp("a"), limit) as a,
        Server.create(tmp_path_factory.mktemp("b"), limit) as b,
    ):
        yield a, b


@pytest.fixture
def pair(servers: tuple[Server, Server]) -> tuple[Database, Database]:
    """A database of one name, with the current schema and without users, in each of two servers."""
    first = servers[0].database()
    second = servers[1].database(first.name)
    for each in (first, second):
        migrate(each)
    return first, second


def migrate(empty: Database) -> None:
    """Create the schema in an empty database."""
    opened = database.Database(dsn.parse(empty.url))
    try:
        schema.upgrade(opened)
    finally:
        opened.close()
