"""Sessions and revocations in the database. All moments are the database's own, set by the statement that writes."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, Update, and_, bindparam, insert, literal, select, update
from sqlalchemy.exc import IntegrityError

from protos.user.v1.contract import SESSION_TOKEN_SECONDS
from user_svc import audit, metrics
from user_svc.audit import Event
from user_svc.clock import now
from user_svc.database import Database
from user_svc.database_errors import DatabaseUnavailableError, RolledBackError
from user_svc.deadline import Deadline
from user_svc.repeats import repeat
from user_svc.sessions import endings, rules
from user_svc.sessions.endings import MARGIN
from user_svc.sessions.rules import IDLE, LIFETIME, Ending, Result, Session
from user_svc.sessions.tables import revocations, sessions
from user_svc.store import users

MAX_SESSIONS = 50
"""Of a user; when there are more, the least recently used ends."""

PAGE = 600
"""Entries of a page of the feed, which fit 32 KiB."""

REFRESH_SECONDS = 6.0
"""For all attempts of a refresh; fewer than rules.GRACE."""

_TRIES = 3
"""Decisions on one refresh: each next one follows on another one's writing."""

_EXCESS = 100
"""Sessions beyond MAX_SESSIONS that one opening ends at most."""

_FIRST_SERIAL = 1
_NEW = frozenset({Result.ROTATED, Result.RECOVERED})
"""Results that give a new serial."""

_FIND = (
    select(
        now().label("now"),
        sessions.c.user_id,
        users.c.username,
        sessions.c.generation,
        sessions.c.serial,
        sessions.c.previous,
        sessions.c.rotated_at,
        sessions.c.used_at,
        sessions.c.expires_at,
        sessions.c.end_reason,
        users.c.generation.label("user_generation"),
        users.c.disabled_at.is_not(None).label("is_disabled"),
    )
    .join_from(sessions, users, users.c.id == sessions.c.user_id)
    .where(sessions.c.id == bindparam("session_id"), users.c.deleted_at.is_(None))
)
_FIND_ON_WRITER = _FIND.with_for_update()
"""Proxies that split reads from writes send it to the writer, which a replica may lag behind."""

_is_same = and_(
    sessions.c.id == bindparam("session_id"), sessions.c.serial == bindparam("newest"), sessions.c.ended_at.is_(None)
)
_ROTATE = (
    update(sessions)
    .where(_is_same)
    .values(
        serial=bindparam("newest", type_=sessions.c.serial.type) + 1,
        previous=bindparam("presented"),
        rotated_at=now(),
        used_at=now(),
    )
)
_END_REUSED = update(sessions).where(_is_same).values(ended_at=now(), end_reason=Ending.REUSED.value)
_END = (
    update(sessions)
    .where(sessions.c.id == bindparam("session_id"), sessions.c.ended_at.is_(None))
    .values(ended_at=now(), end_reason=bindparam("reason"))
)
_OWNER = select(sessions.c.user_id, sessions.c.generation, sessions.c.serial).where(
    sessions.c.id == bindparam("session_id")
)
_OPEN = (
    insert(sessions)
    .from_select(
        [
            "id",
            "user_id",
            "generation",
            "serial",
            "previous",
            "device",
            "created_at",
            "rotated_at",
            "used_at",
            "expires_at",
        ],
        select(
            bindparam("session_id", type_=sessions.c.id.type),
            users.c.id,
            users.c.generation,
            literal(_FIRST_SERIAL),
            literal(0),
            bindparam("device", type_=sessions.c.device.type),
            now(),
            now(),
            now(),
            now() + LIFETIME,
        ).where(
            users.c.id == bindparam("whose"),
            users.c.generation == bindparam("generation"),
            users.c.deleted_at.is_(None),
            users.c.disabled_at.is_(None),
        ),
    )
    .execution_options(preserve_rowcount=True)
)
_usable = (
    select(sessions.c.id, sessions.c.device, sessions.c.created_at, sessions.c.used_at, sessions.c.expires_at)
    .join_from(sessions, users, and_(users.c.id == sessions.c.user_id, users.c.generation == sessions.c.generation))
    .where(
        sessions.c.user_id == bindparam("whose"),
        sessions.c.ended_at.is_(None),
        sessions.c.expires_at > now(),
        sessions.c.used_at > now() - IDLE,
        users.c.deleted_at.is_(None),
        users.c.disabled_at.is_(None),
    )
    .order_by(sessions.c.used_at.desc(), sessions.c.created_at.desc(), sessions.c.id)
)
_LIST = _usable.limit(MAX_SESSIONS)
_BEYOND_LIMIT = _usable.offset(MAX_SESSIONS).limit(_EXCESS)

_RAISE_GENERATION = (
    update(users).where(users.c.id == bindparam("whose"), users.c.deleted_at.is_(None)).values(endings.RAISED)
)
_REVOKE_SESSION = insert(revocations).values(
    kind="session", token_id=bindparam("ended_id"), at=now(), expires_at=now() + SESSION_TOKEN_SECONDS * 1000 + MARGIN
)
_REVOKE_TOKEN = insert(revocations).values(
    kind="token",
    token_id=bindparam("ended_id"),
    user_id=bindparam("whose"),
    at=now(),
    expires_at=bindparam("until"),
)

_NOW = select(now())
_FEED = (
    select(revocations)
    .where(
        revocations.c.at >= bindparam("after_at"),
        (revocations.c.at > bindparam("after_at")) | (revocations.c.id > bindparam("after_id")),
    )
    .order_by(revocations.c.at, revocations.c.id)
    .limit(PAGE + 1)
)


@dataclass(frozen=True, slots=True)
class Refresh:
    """Result of a refresh."""

    result: Result
    session: Session | None
    """As it was read before the result was written; None when there is none."""
    serial: int = 0
    """Of the refresh token to use from now on; 0 when it was refused."""
    expires_in: int = 0
    """Milliseconds until that expires unless it is used."""


@dataclass(frozen=True, slots=True)
class Page:
    """Entries of the feed of revocations."""

    now: int
    """The moment before they were read."""
    entries: list[Any]
    """Rows of `revocations`."""
    more: bool
    """Whether there are later ones."""


class SessionStore:
    """Reads and writes sessions. Every method raises

        DatabaseUnavailableError: when the database cannot be used.
        TimeoutError: when no statement may begin any more before the deadline.
        CancelledError: when the client cancelled the call.

    A statement that the database rolled back is executed again while the deadline allows.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, session_id: bytes, user_id: int, generation: int, device: str, deadline: Deadline) -> int | None:
        """Open a session and return the serial of its newest refresh token; None when the generation is another.

        The same id gives the same session, so it is executed again when the connection was lost as well.
        """
        values = {"session_id": session_id, "whose": user_id, "generation": generation, "device": device.encode()}
        serial = repeat(lambda: self._insert(values, deadline), deadline.patience, on=DatabaseUnavailableError)
        if serial is not None:
            repeat(lambda: self._end_excess(user_id, session_id, deadline), deadline.patience)
        return serial

    def refresh(self, session_id: bytes, presented: int, deadline: Deadline) -> Refresh:
        """Decide the outcome of a refresh, and store it."""
        return repeat(lambda: self._refresh(session_id, presented, deadline), deadline.patience)

    def end(self, session_id: bytes, user_id: int | None, deadline: Deadline) -> bool:
        """End a session, of this user unless that is None; return whether there is one. It may have ended before."""
        return repeat(lambda: self._end(session_id, user_id, deadline), deadline.patience)

    def end_token(self, token_id: bytes, user_id: int, expires_at: int, deadline: Deadline) -> None:
        """Revoke an access token that belongs to no session until `expires_at`, in milliseconds since the epoch."""
        values = {"ended_id": token_id, "whose": user_id, "until": expires_at + MARGIN}
        repeat(lambda: self._revoke_token(values, deadline), deadline.patience)

    def end_all(self, user_id: int, deadline: Deadline) -> int | None:
        """End all of a user's sessions and tokens and return the new generation, None when there is no such user."""
        return repeat(lambda: self._end_all(user_id, deadline), deadline.patience)

    def of_user(self, user_id: int, deadline: Deadline) -> list[Any]:
        """Return the rows of the sessions that can be refreshed, the most recently used first."""
        return repeat(lambda: self._list(_LIST, user_id, deadline), deadline.patience)

    def revocations(self, after_at: int, after_id: int, deadline: Deadline) -> Page:
        """Return the entries of the feed after a position."""
        return repeat(lambda: self._page({"after_at": after_at, "after_id": after_id}, deadline), deadline.patience)

    def _insert(self, values: dict[str, Any], deadline: Deadline) -> int | None:
        with self._database.connection("open_session", "INSERT sessions") as connection:
            deadline.check()
            try:
                is_inserted = connection.execute(_OPEN, values).rowcount == 1
            except IntegrityError:
                held = connection.execute(_OWNER, {"session_id": values["session_id"]}).first()
                if held is None:
                    raise
                return (
                    held.serial if (held.user_id, held.generation) == (values["whose"], values["generation"]) else None
                )
        if not is_inserted:
            return None
        metrics.sessions_opened.inc()
        audit.record(Event.SESSION_OPENED, values["whose"], session_id=values["session_id"])
        return _FIRST_SERIAL

    def _end_excess(self, user_id: int, kept: bytes, deadline: Deadline) -> None:
        for row in self._list(_BEYOND_LIMIT, user_id, deadline):
            if row.id != kept:
                values = {"session_id": row.id, "reason": Ending.LIMIT.value}
                self._write_end(_END, values, user_id, Ending.LIMIT, deadline)

    def _list(self, statement: Select[Any], user_id: int, deadline: Deadline) -> list[Any]:
        with self._database.connection("list_sessions", "SELECT sessions") as connection:
            deadline.check()
            return [*connection.execute(statement, {"whose": user_id})]

    def _refresh(self, session_id: bytes, presented: int, deadline: Deadline) -> Refresh:
        began = None
        for _ in range(_TRIES):
            with self._database.connection("refresh_session", "UPDATE sessions") as connection:
                session = _read(connection, _FIND if began is None else _FIND_ON_WRITER, session_id, deadline)
                if began is None and rules.decide(session, presented) is Result.UNKNOWN:
                    session = _read(connection, _FIND_ON_WRITER, session_id, deadline)
                if session is None:
                    return Refresh(Result.UNKNOWN, None)
                began = session.now if began is None else began
                if session.now - began >= REFRESH_SECONDS * 1000:
                    raise TimeoutError  # the clock of this machine stood still, as when a virtual one is moved
                result = rules.decide(session, presented)
                values = {"session_id": session_id, "newest": session.serial}
                is_written = result is not Result.REUSED
                if result in _NEW:
                    deadline.check()
                    is_written = connection.execute(_ROTATE, {**values, "presented": presented}).rowcount == 1
            if is_written or (
                result is Result.REUSED
                and self._write_end(_END_REUSED, values, session.user_id, Ending.REUSED, deadline)
            ):
                return _answer(result, session)
        raise RolledBackError("CONTENDED")

    def _end(self, session_id: bytes, user_id: int | None, deadline: Deadline) -> bool:
        with self._database.connection("find_session", "SELECT sessions") as connection:
            deadline.check()
            held = connection.execute(_OWNER.with_for_update(), {"session_id": session_id}).first()
        if held is None or user_id not in {None, held.user_id}:
            return False
        values = {"session_id": session_id, "reason": Ending.LOGOUT.value}
        self._write_end(_END, values, held.user_id, Ending.LOGOUT, deadline)
        return True

    def _write_end(
        self, statement: Update, values: dict[str, Any], user_id: int, reason: Ending, deadline: Deadline
    ) -> bool:
        """End a session together with its access tokens, unless it has ended or changed; return whether it did."""
        with self._database.transaction("end_session", "UPDATE sessions") as connection:
            deadline.check()
            is_ended = connection.execute(statement, values).rowcount == 1
            if is_ended:
                connection.execute(_REVOKE_SESSION, {"ended_id": values["session_id"]})
        if is_ended:
            metrics.sessions_ended.labels(reason.value).inc()
            audit.record(Event.SESSION_ENDED, user_id, session_id=values["session_id"], reason=reason.value)
        return is_ended

    def _revoke_token(self, values: dict[str, Any], deadline: Deadline) -> None:
        with self._database.connection("end_token", "INSERT revocations") as connection:
            deadline.check()
            connection.execute(_REVOKE_TOKEN, values)
        audit.record(Event.TOKEN_REVOKED, values["whose"])

    def _end_all(self, user_id: int, deadline: Deadline) -> int | None:
        with self._database.transaction("end_all_sessions", "UPDATE users") as connection:
            deadline.check()
            if connection.execute(_RAISE_GENERATION, {"whose": user_id}).rowcount == 0:
                return None
            ended = endings.end_all(connection, user_id, Ending.LOGOUT_ALL)
        ended.count(Ending.LOGOUT_ALL)
        audit.record(Event.LOGGED_OUT, user_id, sessions=ended.sessions)
        return ended.generation

    def _page(self, after: dict[str, int], deadline: Deadline) -> Page:
        with self._database.connection("list_revocations", "SELECT revocations") as connection:
            deadline.check()
            moment = connection.scalar(_NOW)
            entries = [*connection.execute(_FEED, after)]
        return Page(int(moment or 0), entries[:PAGE], more=len(entries) > PAGE)


def _read(connection: Connection, statement: Select[Any], session_id: bytes, deadline: Deadline) -> Session | None:
    deadline.check()
    row = connection.execute(statement, {"session_id": session_id}).mappings().first()
    return None if row is None else Session(**row)


def _answer(result: Result, session: Session) -> Refresh:
    if result in _NEW:
        return Refresh(result, session, session.serial + 1, min(IDLE, session.expires_at - session.now))
    if result is Result.REPEATED:
        return Refresh(result, session, session.serial, session.usable_until - session.now)
    return Refresh(result, session)
