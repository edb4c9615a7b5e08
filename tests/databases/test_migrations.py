"""Migrations from all nodes of a cluster at once."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.db_cluster import galera
from tests.support.mariadb import Database
from tests.support.process import Process

TO_ADOPT = (
    "CREATE TABLE users (id int AUTO_INCREMENT PRIMARY KEY, username varchar(64) COLLATE utf8mb4_bin, password text) "
    "CHARSET utf8mb4"
)

pytestmark = [pytest.mark.faults, pytest.mark.exclusive, pytest.mark.timeout(240)]


def test_every_node_may_migrate_at_once(tmp_path: Path) -> None:
    with galera() as nodes:
        for statements in ([], [TO_ADOPT]):
            name = nodes[0].database().name
            databases = [Database(node, name) for node in nodes]
            databases[0].execute("SELECT 1", *statements)
            migrate(databases * 2, tmp_path)
            for database in databases:
                assert database.execute("SELECT * FROM user_svc_schema") == [{"version_num": "0003"}]
                assert len(database.execute("SHOW INDEX FROM users")) == 2
                assert len(database.execute("DESCRIBE users")) == 9


def migrate(databases: Sequence[Database], folder: Path) -> None:
    """Migrate by way of each of them, all at once."""
    with ExitStack() as stack:
        processes = [
            stack.enter_context(Process("user_svc", "migrate", env={"DB_DSN": database.go_dsn}, cwd=folder))
            for database in databases
        ]
        for process in processes:
            assert process.wait(60) == 0, process.output
            assert not [line for line in process.records if line["level"] in {"WARNING", "ERROR"}], process.output
