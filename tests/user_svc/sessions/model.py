"""Sessions in memory, decided on by the rules: what the store must do, without a database."""

from copy import deepcopy
from dataclasses import replace

from tests.user_svc.sessions.chains import Answer
from user_svc.sessions.rules import LIFETIME, Ending, Result, Session, decide


class Model:
    """A `System` with a clock of its own."""

    def __init__(self) -> None:
        self._now = 1_000_000
        self._opened = 0
        self._sessions: dict[bytes, Session] = {}
        self._backup: dict[bytes, Session] = {}

    def open(self) -> bytes:
        self._opened += 1
        name = self._opened.to_bytes(16, "big")
        moments = {"now": self._now, "rotated_at": self._now, "used_at": self._now, "expires_at": self._now + LIFETIME}
        owner = {"user_id": 1, "username": "alice", "generation": 0, "user_generation": 0, "is_disabled": False}
        self._sessions[name] = Session(serial=1, previous=0, end_reason=None, **moments, **owner)  # type: ignore[arg-type]
        return name

    def refresh(self, session_id: bytes, serial: int) -> Answer:
        session = self._sessions.get(session_id)
        session = session and replace(session, now=self._now)
        result = decide(session, serial)
        if session is None:
            return result, 0
        if result is Result.REUSED:
            self._sessions[session_id] = replace(session, end_reason=Ending.REUSED.value)
        elif result in {Result.ROTATED, Result.RECOVERED}:
            session = self._sessions[session_id] = replace(
                session, serial=session.serial + 1, previous=serial, rotated_at=self._now, used_at=self._now
            )
        return result, session.serial if result in {Result.ROTATED, Result.RECOVERED, Result.REPEATED} else 0

    def wait(self, milliseconds: int) -> None:
        self._now += milliseconds

    def back_up(self) -> None:
        self._backup = deepcopy(self._sessions)

    def restore(self) -> None:
        self._sessions = deepcopy(self._backup)
