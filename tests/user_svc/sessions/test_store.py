"""Sessions in SQLite and in MariaDB or MySQL."""

import secrets
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import event

from protos.user.v1 import user_pb2
from tests.support.mariadb import Database as Scratch
from tests.user_svc.sessions.chains import BEYOND_GRACE, Chains
from tests.user_svc.sessions.model import Model
from tests.user_svc.sessions.support import Compared, StoredSystem, age, execute, soon
from user_svc import dsn, schema
from user_svc.database import Database
from user_svc.deadline import Deadline
from user_svc.sessions.rules import IDLE, LIFETIME, Result
from user_svc.sessions.service import _revocation
from user_svc.sessions.store import MAX_SESSIONS, PAGE, SessionStore
from user_svc.store import Store


@pytest.fixture
def store(opened: Database) -> SessionStore:
    return SessionStore(opened)


@pytest.fixture
def alice(opened: Database) -> int:
    return Store(opened).add("alice", "hash")


def open_one(store: SessionStore, user_id: int, device: str = "phone", generation: int = 0) -> bytes:
    session_id = secrets.token_bytes(16)
    assert store.open(session_id, user_id, generation, device, soon()) == 1
    return session_id


def feed(store: SessionStore, after_at: int = 0, after_id: int = 0) -> list[Any]:
    return store.revocations(after_at, after_id, soon()).entries


def results(store: SessionStore, session_id: bytes, *serials: int) -> list[tuple[Result, int]]:
    answers = [store.refresh(session_id, serial, soon()) for serial in serials]
    return [(answer.result, answer.serial) for answer in answers]


@pytest.mark.timeout(300)
def test_chains_keep_their_promises_in_a_database(opened: Database) -> None:
    run_state_machine_as_test(
        lambda: Chains(Compared(Model(), StoredSystem(opened))),  # type: ignore[arg-type]
        settings=settings(
            max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )


def test_a_session_opened_again_is_the_same(store: SessionStore, alice: int, opened: Database) -> None:
    session_id = open_one(store, alice)
    age(opened, BEYOND_GRACE)
    assert results(store, session_id, 1) == [(Result.ROTATED, 2)]
    assert store.open(session_id, alice, 0, "phone", soon()) == 2
    assert store.open(session_id, alice, 1, "phone", soon()) is None
    assert store.open(session_id, alice + 1, 0, "phone", soon()) is None
    assert execute(opened, "SELECT COUNT(*) FROM sessions") == [(1,)]


@pytest.mark.parametrize(
    "change",
    [
        "generation = generation + 1",
        "disabled_at = '2026-01-01 00:00:00'",
        "deleted_at = '2026-01-01 00:00:00'",
    ],
)
def test_no_session_opens_for_a_user_who_changed(
    store: SessionStore, alice: int, opened: Database, change: str
) -> None:
    before = open_one(store, alice)
    execute(opened, f"UPDATE users SET {change}")
    assert store.open(secrets.token_bytes(16), alice, 0, "phone", soon()) is None
    expected = {"generation": Result.ENDED, "disabled_at": Result.DISABLED, "deleted_at": Result.UNKNOWN}
    assert results(store, before, 1) == [(expected[change.split()[0]], 0)]
    assert store.of_user(alice, soon()) == []


def test_the_refresh_token_expires(store: SessionStore, alice: int, opened: Database) -> None:
    session_id = open_one(store, alice)
    age(opened, IDLE - 60_000)
    answer = store.refresh(session_id, 1, soon())
    assert (answer.result, answer.expires_in) == (Result.ROTATED, IDLE)
    age(opened, IDLE - 60_000)
    assert results(store, session_id, 2) == [(Result.ROTATED, 3)]
    age(opened, LIFETIME - 2 * IDLE)
    answer = store.refresh(session_id, 3, soon())
    assert (answer.result, answer.serial) == (Result.ROTATED, 4)
    assert 0 < answer.expires_in <= 120_000
    age(opened, 120_000)
    assert results(store, session_id, 4, 1) == [(Result.EXPIRED, 0)] * 2
    assert store.of_user(alice, soon()) == []


def test_a_session_ends_once_and_is_revoked_once(store: SessionStore, alice: int) -> None:
    session_id, other = open_one(store, alice), open_one(store, alice)
    assert store.end(session_id, alice + 1, soon()) is False
    assert store.end(secrets.token_bytes(16), None, soon()) is False
    assert [store.end(session_id, each, soon()) for each in (alice, alice, None)] == [True] * 3
    assert results(store, session_id, 1) == [(Result.ENDED, 0)]
    assert results(store, other, 1) == [(Result.REPEATED, 1)]
    assert [(row.kind, row.token_id) for row in feed(store)] == [("session", session_id)]


def test_reuse_revokes_the_access_tokens_too(store: SessionStore, alice: int, opened: Database) -> None:
    session_id = open_one(store, alice)
    for serial in (1, 2):
        age(opened, BEYOND_GRACE)
        assert results(store, session_id, serial) == [(Result.ROTATED, serial + 1)]
    assert results(store, session_id, 1, 1, 3) == [
        (Result.REUSED, 0),
        (Result.REUSED_BEFORE, 0),
        (Result.REUSED_BEFORE, 0),
    ]
    assert [row.token_id for row in feed(store)] == [session_id]


def test_everything_of_a_user_ends_at_once(store: SessionStore, alice: int, opened: Database) -> None:
    bob = Store(opened).add("bob", "hash")
    mine, his = [open_one(store, alice) for _ in range(3)], open_one(store, bob)
    assert store.end_all(alice, soon()) == 1
    assert [results(store, each, 1) for each in mine] == [[(Result.ENDED, 0)]] * 3
    assert results(store, his, 1) == [(Result.REPEATED, 1)]
    assert store.open(secrets.token_bytes(16), alice, 0, "phone", soon()) is None
    again = open_one(store, alice, generation=1)
    assert [row.id for row in store.of_user(alice, soon())] == [again]
    assert store.end_all(alice, soon()) == 2
    assert store.end_all(bob + 1, soon()) is None
    assert [(row.kind, row.user_id, row.generation, row.disabled) for row in feed(store)] == [
        ("user", alice, generation, False) for generation in (1, 2)
    ]
    assert execute(opened, "SELECT generation, generation_at IS NULL FROM users ORDER BY id") == [(2, 0), (0, 1)]


def test_refresh_during_end_of_all_fails_neither(database: Scratch) -> None:
    """By default since MariaDB 11.6, a transaction that has read cannot change rows that others changed since."""
    if not database.execute("SHOW VARIABLES LIKE 'innodb_snapshot_isolation'"):
        pytest.skip("the server has no innodb_snapshot_isolation, which MariaDB has since 10.6.18")
    database.execute("SET GLOBAL innodb_snapshot_isolation = ON")
    opened = Database(dsn.parse(database.go_dsn))
    try:
        schema.upgrade(opened)
        user_id = Store(opened).add("alice", "hash")
        store = SessionStore(opened)
        session_id = open_one(store, user_id)
        age(opened, BEYOND_GRACE)
        refreshed: list[Any] = []

        def refresh_first(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith("UPDATE sessions SET ended_at") and not refreshed:
                refreshed.append(None)
                refreshed[:] = results(store, session_id, 1)

        event.listen(opened.engine, "before_cursor_execute", refresh_first)
        assert store.end_all(user_id, soon()) == 1
        assert refreshed == [(Result.ROTATED, 2)]
        assert [(row.kind, row.generation) for row in feed(store)] == [("user", 1)]
        assert results(store, session_id, 2) == [(Result.ENDED, 0)]
    finally:
        opened.close()
        database.execute("SET GLOBAL innodb_snapshot_isolation = OFF")


def test_a_disabled_user_stays_so_in_the_feed(store: SessionStore, alice: int, opened: Database) -> None:
    execute(opened, "UPDATE users SET disabled_at = '2026-01-01 00:00:00'")
    store.end_all(alice, soon())
    (row,) = feed(store)
    assert (row.disabled, row.expires_at) == (True, None)
    assert _revocation(row).expires_at == 0


def test_the_least_recently_used_session_gives_way(store: SessionStore, alice: int, opened: Database) -> None:
    sessions = []
    for _ in range(MAX_SESSIONS):
        age(opened, BEYOND_GRACE)
        sessions.append(open_one(store, alice))
    age(opened, BEYOND_GRACE)
    assert results(store, sessions[0], 1) == [(Result.ROTATED, 2)]
    newest = open_one(store, alice)
    listed = [row.id for row in store.of_user(alice, soon())]
    assert set(listed) == {*sessions, newest} - {sessions[1]}
    assert listed[1] == sessions[0]
    assert results(store, sessions[1], 1) == [(Result.ENDED, 0)]
    assert [row.token_id for row in feed(store)] == [sessions[1]]


@pytest.mark.parametrize("charset", ["utf8mb4", "utf8", "latin1"])
def test_labels_and_ids_of_any_bytes_are_kept(database: Scratch, charset: str) -> None:
    opened = Database(dsn.parse(database.go_dsn.replace("utf8mb4", charset)))
    schema.upgrade(opened)
    store = SessionStore(opened)
    alice = Store(opened).add("alice", "hash")
    device = "手机📱'\\%s\0" + "x" * 56
    session_id = bytes([0, 255, 39, 92, 37, 10, 13, 26, 0, 0, 0, 0, 0, 0, 0, 0])
    for label, name in ((device, session_id), ("📱" * 64, bytes(16))):
        assert store.open(name, alice, 0, label, soon()) == 1
    rows = {row.id: row.device.decode() for row in store.of_user(alice, soon())}
    assert rows == {session_id: device, bytes(16): "📱" * 64}
    opened.close()


def test_entries_of_one_moment_fill_many_pages(store: SessionStore, opened: Database) -> None:
    largest = {"kind": "user", "user": 2**63 - 1, "generation": 2**32 - 1, "expiry": 2**50}
    moment = 2**50
    with opened.transaction("test", "INSERT revocations") as connection:
        for _ in range(3_000):
            connection.exec_driver_sql(
                "INSERT INTO revocations (kind, user_id, generation, disabled, at, expires_at) "
                f"VALUES ('{largest['kind']}', {largest['user']}, {largest['generation']}, 1, {moment}, "
                f"{largest['expiry']})"
            )
    seen: list[int] = []
    position = (0, 0)
    while True:
        page = store.revocations(*position, soon())
        entries = [_revocation(row) for row in page.entries]
        answer = user_pb2.ListRevocationsResponse(revocations=entries, more=page.more, now=page.now)
        assert answer.ByteSize() <= 32 * 1024
        seen += [entry.id for entry in entries]
        position = (entries[-1].at, entries[-1].id)
        if not page.more:
            break
        assert len(entries) == PAGE
    assert len(seen) == len(set(seen)) == 3_000
    assert feed(store, *position) == []


def test_rows_committed_late_arrive_through_the_overlap(database: Scratch) -> None:
    opened = Database(dsn.parse(database.go_dsn))
    schema.upgrade(opened)
    store = SessionStore(opened)
    alice = Store(opened).add("alice", "hash")
    late = open_one(store, alice)
    insert = (
        "INSERT INTO revocations (kind, token_id, at, expires_at) VALUES ('session', X'%s', "
        "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED) - 30000, 99999999999999)"
    )
    with opened.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql(insert % late.hex())
        other = open_one(store, alice)
        store.end(other, alice, soon())
        page = store.revocations(0, 0, soon())
        assert [row.token_id for row in page.entries] == [other]
        connection.exec_driver_sql("COMMIT")
    assert feed(store, page.entries[-1].at, page.entries[-1].id) == []
    assert [row.token_id for row in feed(store, page.now - 60_000)] == [late, other]
    opened.close()


def test_one_of_many_refreshes_at_once_rotates(store: SessionStore, alice: int, opened: Database) -> None:
    session_id = open_one(store, alice)
    together = threading.Barrier(20)

    def refresh(serial: int) -> tuple[Result, int]:
        together.wait(30)
        answer = store.refresh(session_id, serial, soon())
        return answer.result, answer.serial

    with ThreadPoolExecutor(20) as threads:
        for serial, expected in ((1, Result.ROTATED), (1, Result.RECOVERED)):
            age(opened, BEYOND_GRACE)
            answers = [*threads.map(refresh, [serial] * 20)]
            newest = {Result.ROTATED: 2, Result.RECOVERED: 3}[expected]
            assert {serial for _, serial in answers} == {newest}
            assert sorted(result for result, _ in answers) == sorted([expected] + [Result.REPEATED] * 19)
    assert execute(opened, "SELECT serial, previous FROM sessions") == [(3, 1)]


def test_stopped_machine_in_refresh_voids_nothing(database: Scratch) -> None:
    elsewhere, opened = Database(dsn.parse(database.go_dsn)), Database(dsn.parse(database.go_dsn))
    schema.upgrade(opened)
    store, faster = SessionStore(opened), SessionStore(elsewhere)
    session_id = open_one(store, Store(opened).add("alice", "hash"))
    age(opened, BEYOND_GRACE)

    def stand_still(_connection: Any, cursor: Any, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE sessions"):
            assert results(faster, session_id, 1) == [(Result.ROTATED, 2)]
        if statement.endswith("FOR UPDATE"):
            cursor.execute("SET timestamp = UNIX_TIMESTAMP() + 20")

    event.listen(opened.engine, "before_cursor_execute", stand_still)
    with pytest.raises(TimeoutError):
        store.refresh(session_id, 1, soon())
    assert execute(elsewhere, "SELECT serial, previous FROM sessions") == [(2, 1)]
    opened.close()
    elsewhere.close()


def test_no_statement_begins_that_could_outlast_the_call(store: SessionStore, alice: int, opened: Database) -> None:
    session_id = open_one(store, alice)
    age(opened, BEYOND_GRACE)
    with pytest.raises(TimeoutError):
        store.refresh(session_id, 1, Deadline(1.9))
    with pytest.raises(CancelledError):
        store.refresh(session_id, 1, Deadline(6, lambda: False))
    assert results(store, session_id, 1) == [(Result.ROTATED, 2)]
