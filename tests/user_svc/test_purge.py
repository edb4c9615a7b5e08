"""Deletion of what has expired."""

import secrets

import pytest

from tests.support.wait import wait_until
from tests.user_svc.sessions.support import age, execute, soon
from user_svc import purge
from user_svc.database import Database
from user_svc.purge import Purge
from user_svc.sessions.rules import LIFETIME, Result
from user_svc.sessions.store import SessionStore
from user_svc.store import Store

DAY = 86_400_000


@pytest.fixture
def store(opened: Database) -> SessionStore:
    return SessionStore(opened)


def test_what_concerns_no_token_is_deleted_in_batches(
    store: SessionStore, opened: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "BATCH", 3)
    alice = Store(opened).add("alice", "hash")
    old = [secrets.token_bytes(16) for _ in range(10)]
    for session_id in old:
        store.open(session_id, alice, 0, "", soon())
        store.end(session_id, alice, soon())
    execute(opened, "UPDATE revocations SET expires_at = expires_at - :by", by=DAY)
    store.end_all(alice, soon())
    age(opened, LIFETIME + DAY)
    newer = secrets.token_bytes(16)
    store.open(newer, alice, 1, "", soon())
    purger = Purge(opened, lambda: True)
    assert purger.purge() == 10
    assert [kind for (kind,) in execute(opened, "SELECT kind FROM revocations")] == ["user"]
    assert store.refresh(old[0], 1, soon()).result is Result.ENDED
    age(opened, 7 * DAY)
    assert purger.purge() == 10
    assert execute(opened, "SELECT id FROM sessions") == [(newer,)]
    assert purger.purge() == 0


def test_revocations_of_disabled_users_are_kept(store: SessionStore, opened: Database) -> None:
    alice = Store(opened).add("alice", "hash")
    execute(opened, "UPDATE users SET disabled_at = '2026-01-01 00:00:00'")
    store.end_all(alice, soon())
    execute(opened, "UPDATE revocations SET at = 1")
    assert Purge(opened, lambda: True).purge() == 0


def test_the_thread_purges_in_each_interval(
    store: SessionStore, opened: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "INTERVAL", 0.2)
    alice = Store(opened).add("alice", "hash")
    purger = Purge(opened, lambda: True)
    purger.start()
    try:
        for _ in range(2):
            store.open(secrets.token_bytes(16), alice, 0, "", soon())
            age(opened, LIFETIME + 8 * DAY)
            wait_until(lambda: execute(opened, "SELECT COUNT(*) FROM sessions") == [(0,)])
    finally:
        purger.stop()
        purger.thread.join(5)
    assert not purger.thread.died


def test_a_database_that_is_away_is_left_alone(opened: Database, caplog: pytest.LogCaptureFixture) -> None:
    execute(opened, "DROP TABLE sessions")
    purger = Purge(opened, lambda: True)
    purger._purge()
    assert "expired rows could not be deleted" in caplog.text
