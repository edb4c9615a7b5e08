"""Statements that the database rolled back, and those of which it is unknown."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from pymysql.constants import ER

from protos.user.v1 import user_pb2
from tests.support.mariadb import Database, Server
from tests.support.process import Process
from tests.support.tcp_proxy import TcpProxy
from tests.support.wait import wait_until
from tests.user_svc.client import Client, ready_client
from user_svc import dsn
from user_svc.database import Database as Engines
from user_svc.store import NameTakenError, Store

REPEATED = "executing a statement again"
DEADLINE = 5.0


@pytest.fixture
def proxy(database: Database) -> Iterator[TcpProxy]:
    with TcpProxy(database.server.port) as proxy:
        yield proxy


@pytest.fixture
def client(database: Database, proxy: TcpProxy, tmp_path: Path) -> Iterator[Client]:
    with (
        Process("user_svc", env={"DB_DSN": database.go_dsn_by(proxy.port)}, cwd=tmp_path) as process,
        ready_client(process) as client,
    ):
        yield client


@contextmanager
def registering(client: Client, *names: str) -> Iterator[list["Future[user_pb2.RegisterResponse]"]]:
    with ThreadPoolExecutor() as threads:
        yield [threads.submit(client.register, name, timeout=DEADLINE) for name in names]


def users(database: Database) -> list[str]:
    return [row["username"] for row in database.execute("SELECT username FROM users ORDER BY username")]


def lock_waits(server: Server) -> int:
    query = "SELECT COUNT(*) AS waits FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    return int(server.execute(query)[0]["waits"])


def causes_of_repeats(client: Client) -> list[str]:
    return [record["cause"] for record in client.process.records if record["message"] == REPEATED]


def test_two_registrations_behind_one_that_is_rolled_back(client: Client, database: Database) -> None:
    other = "INSERT INTO users (username, password) VALUES ('alice', '')"
    with database.server.transaction(database.name, other) as rollback, registering(client, "alice", "Alice") as calls:
        # InnoDB repeats its answer to those who ask within 0.1 s. A statement that was given up goes on waiting.
        wait_until(lambda: lock_waits(database.server) >= 2, interval=0.2)
        rollback()
        assert sorted(call.result().code for call in calls) == [200, 409]
    assert [name.lower() for name in users(database)] == ["alice"]
    wait_until(lambda: "ER_LOCK_DEADLOCK" in causes_of_repeats(client))


@pytest.mark.parametrize(
    "error",
    [
        ER.LOCK_DEADLOCK,
        ER.LOCK_WAIT_TIMEOUT,
        ER.UNKNOWN_COM_ERROR,
        ER.QUERY_INTERRUPTED,
        ER.OPTION_PREVENTS_STATEMENT,
        1792,
        1836,
    ],
)
def test_a_statement_that_was_rolled_back_is_repeated(client: Client, database: Database, error: int) -> None:
    database.execute(
        f"CREATE TRIGGER refusal BEFORE INSERT ON users FOR EACH ROW SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {error}"
    )
    with registering(client, "alice") as (call,):
        client.process.wait_for(REPEATED)
        database.execute("DROP TRIGGER refusal")
        assert call.result().code == 200
    assert users(database) == ["alice"]


@pytest.mark.parametrize("delivered", [True, False], ids=["committed", "not committed"])
def test_lost_connection_in_register_leaves_one_row(
    client: Client, database: Database, proxy: TcpProxy, *, delivered: bool
) -> None:
    proxy.lose(b"INSERT INTO users", delivered=delivered)
    answer = client.register("alice", timeout=DEADLINE)
    assert answer.code == 200
    assert client.process.wait_for(REPEATED)["cause"] == "CR_SERVER_LOST"
    assert database.execute("SELECT id, username FROM users") == [{"id": answer.user_id, "username": "alice"}]
    assert client.register("alice").code == 409


def test_only_the_calls_own_row_is_no_duplicate(client: Client, database: Database) -> None:
    engines = Engines(dsn.parse(database.go_dsn))
    store = Store(engines)
    user_id = store.add("alice", "hash")
    assert store.add("alice", "hash") == user_id
    for other in ("other", "HASH"):
        with pytest.raises(NameTakenError):
            store.add("alice", other)
    engines.close()
