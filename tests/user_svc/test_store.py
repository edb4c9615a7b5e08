"""Users in SQLite and in MariaDB or MySQL."""

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text

from tests.support.etcd import free_port
from tests.support.mariadb import Database as Scratch
from tests.support.wait import wait_until
from user_svc import dsn, schema
from user_svc.database import Database
from user_svc.database_errors import DatabaseUnavailableError
from user_svc.store import NameTakenError, Store


@pytest.fixture
def store(opened: Database) -> Store:
    return Store(opened)


def pool_metric(state: str) -> float | None:
    return REGISTRY.get_sample_value("db_pool_connections", {"state": state})


def scalar(database: Database, statement: str) -> object:
    with database.connection("test", "SELECT users") as connection:
        return connection.scalar(text(statement))


def test_a_user_is_found_whatever_the_case(store: Store) -> None:
    user_id = store.add("Alice_1", "hash")
    found = store.find("aLICE_1")
    assert found is not None
    assert (found.id, found.username, found.password_hash) == (user_id, "Alice_1", "hash")
    assert user_id > 0
    assert store.is_taken("ALICE_1")
    assert "hash" not in repr(found).replace("password_hash", "")


@pytest.mark.parametrize("other", ["alice", "alice_11", "alicex1", "%", "alice__"])
def test_other_names_are_others(store: Store, other: str) -> None:
    store.add("alice_1", "hash")
    assert store.find(other) is None
    assert not store.is_taken(other)


def test_the_index_decides(store: Store, opened: Database) -> None:
    store.add("alice", "hash")
    with pytest.raises(NameTakenError) as taken:
        store.add("ALICE", "other")
    assert taken.value.__cause__ is None
    assert scalar(opened, "SELECT COUNT(*) FROM users") == 1


def test_deleted_users_name_stays_taken(store: Store, opened: Database) -> None:
    store.add("alice", "hash")
    with opened.connection("test", "SELECT users") as connection:
        connection.execute(text("UPDATE users SET deleted_at = '2026-01-01 00:00:00'"))
    assert store.find("alice") is None
    assert store.is_taken("alice")


def test_a_hash_is_replaced_unless_it_has_changed(store: Store) -> None:
    store.add("alice", "old")
    before = store.find("alice")
    assert before is not None
    store.replace_hash(before, "new")
    store.replace_hash(before, "newer")
    after = store.find("alice")
    assert after is not None
    assert after.password_hash == "new"


def test_highest_cost_counts_only_usable_accounts(store: Store, opened: Database) -> None:
    assert store.highest_cost() is None
    body = "a" * 53
    for number, held in enumerate(["hash", f"$2b$17${body}", f"$2b$16${body}x", f"$2x$16${body}", "密" * 60]):
        store.add(f"nobody_{number}", held)
    assert store.highest_cost() is None
    for cost in (4, 13, 10):
        store.add(f"user_{cost}", f"$2a${cost:02}${body}")
    assert store.highest_cost() == 13
    with opened.connection("test", "UPDATE users") as connection:
        connection.execute(text("UPDATE users SET deleted_at = '2026-01-01 00:00:00' WHERE username = 'user_13'"))
    assert store.highest_cost() == 10


def test_highest_cost_is_found_in_large_tables(store: Store, opened: Database) -> None:
    rows = [{"name": f"user_{number}", "hash": f"$2b$04${'a' * 53}"} for number in range(25_000)]
    for row in (rows[9_999], rows[24_999]):
        row["hash"] = row["hash"].replace("04", "12" if row is rows[9_999] else "11")
    with opened.connection("test", "INSERT users") as connection:
        connection.execute(text("INSERT INTO users (username, password) VALUES (:name, :hash)"), rows)
    assert store.highest_cost() == 12


def test_moments_are_utc(store: Store, opened: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    store.add("alice", "hash")
    value = scalar(opened, "SELECT created_at FROM users")
    created = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    assert abs(created.replace(tzinfo=UTC) - datetime.now(UTC)) < timedelta(minutes=5)
    if opened.source.file is None:
        assert scalar(opened, "SELECT @@session.time_zone") == "+00:00"
        assert scalar(opened, "SELECT ABS(TIMESTAMPDIFF(SECOND, NOW(), UTC_TIMESTAMP()))") == 0


def test_full_pool_is_no_dead_database(opened: Database, store: Store) -> None:
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(opened.engine.connect())
        with pytest.raises(DatabaseUnavailableError, match="POOL_EXHAUSTED"):
            store.find("alice")
        opened.ping(schema.PROBE)
        assert pool_metric("in_use") == 100
    assert store.find("alice") is None
    assert (pool_metric("in_use"), pool_metric("idle")) == (0, 10)


def test_the_pool_has_the_size_that_is_set(database: Scratch) -> None:
    opened = Database(dsn.parse(database.go_dsn), pool_size=1, max_overflow=1)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(opened.engine.connect())
        with pytest.raises(DatabaseUnavailableError, match="POOL_EXHAUSTED"):
            Store(opened).find("alice")
    assert (pool_metric("in_use"), pool_metric("idle")) == (0, 1)
    opened.close()


def test_connections_of_the_configured_age_are_replaced(database: Scratch) -> None:
    opened = Database(dsn.parse(database.go_dsn), recycle=0.05)

    def connection_id() -> object:
        with opened.engine.connect() as connection:
            return connection.scalar(text("SELECT CONNECTION_ID()"))

    first = connection_id()
    wait_until(lambda: connection_id() != first)
    opened.close()


def test_dead_pool_connections_are_replaced(database: Scratch) -> None:
    opened = Database(dsn.parse(database.go_dsn))
    schema.upgrade(opened)
    store = Store(opened)
    store.add("alice", "hash")
    for row in database.execute("SHOW PROCESSLIST"):
        if row["User"] == "app" and row["db"] == database.name:
            database.execute(f"KILL {row['Id']}")
    assert store.is_taken("alice")
    opened.close()


def test_unavailable_and_refusing_databases_differ() -> None:
    store = Store(Database(dsn.parse(f"u:p@tcp(127.0.0.1:{free_port()})/db")))
    with pytest.raises(DatabaseUnavailableError, match="CR_CONN_HOST_ERROR") as raised:
        store.find("alice")
    assert raised.value.__cause__ is None
