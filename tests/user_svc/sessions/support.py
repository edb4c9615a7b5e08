"""Time and backups for sessions in a real database: its clock cannot be set, so its rows become older."""

import secrets
from typing import Any

from sqlalchemy import text

from tests.user_svc.sessions.chains import Answer, System
from user_svc.database import Database
from user_svc.deadline import Deadline
from user_svc.sessions.store import SessionStore
from user_svc.store import Store

_AGE = """
UPDATE sessions SET created_at = created_at - :by, rotated_at = rotated_at - :by, used_at = used_at - :by,
expires_at = expires_at - :by, ended_at = ended_at - :by"""


def execute(database: Database, statement: str, **values: object) -> Any:
    """Run a statement and return its rows, if it has any."""
    with database.connection("test", "SELECT sessions") as connection:
        result = connection.execute(text(statement), values)
        return result.all() if result.returns_rows else None


def age(database: Database, milliseconds: int) -> None:
    """Let time pass for all sessions."""
    execute(database, _AGE, by=milliseconds)


def soon() -> Deadline:
    """A deadline that a test does not reach."""
    return Deadline(60)


class StoredSystem:
    """The `System` in a real database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sessions = SessionStore(database)
        found = Store(database).find("alice")
        self.user_id = found.id if found else Store(database).add("alice", "hash")
        self._waited = 0
        self._backup: list[Any] = []
        self._backed_up_at = 0

    def open(self) -> bytes:
        session_id = secrets.token_bytes(16)
        assert self._sessions.open(session_id, self.user_id, 0, "phone", soon()) == 1
        return session_id

    def refresh(self, session_id: bytes, serial: int) -> Answer:
        refresh = self._sessions.refresh(session_id, serial, soon())
        return refresh.result, refresh.serial

    def wait(self, milliseconds: int) -> None:
        self._waited += milliseconds
        age(self._database, milliseconds)

    def back_up(self) -> None:
        self._backup = [dict(row._mapping) for row in execute(self._database, "SELECT * FROM sessions")]
        self._backed_up_at = self._waited

    def restore(self) -> None:
        execute(self._database, "DELETE FROM sessions")
        for row in self._backup:
            names = ", ".join(row)
            execute(self._database, f"INSERT INTO sessions ({names}) VALUES (:{', :'.join(row)})", **row)
        age(self._database, self._waited - self._backed_up_at)


class Compared:
    """A `System` that is two, which must agree."""

    def __init__(self, *systems: System) -> None:
        self._systems = systems
        self._names: dict[bytes, tuple[bytes, ...]] = {}

    def open(self) -> bytes:
        names = tuple(system.open() for system in self._systems)
        self._names[names[0]] = names
        return names[0]

    def refresh(self, session_id: bytes, serial: int) -> Answer:
        answers = [
            system.refresh(name, serial) for system, name in zip(self._systems, self._names[session_id], strict=True)
        ]
        assert len(set(answers)) == 1, answers
        return answers[0]

    def wait(self, milliseconds: int) -> None:
        for system in self._systems:
            system.wait(milliseconds)

    def back_up(self) -> None:
        for system in self._systems:
            system.back_up()

    def restore(self) -> None:
        for system in self._systems:
            system.restore()
