"""Changes of a user: passwords, deletion, and operators' commands.

Each change is one transaction together with the end of the sessions and tokens that it ends: whatever fails between two
statements, the user is as before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, bindparam, case, func, select, update

from user_svc import throttle
from user_svc.clock import now
from user_svc.database import Database
from user_svc.deadline import Deadline
from user_svc.repeats import repeat
from user_svc.sessions import endings
from user_svc.sessions.endings import Ended
from user_svc.sessions.rules import IDLE, Ending
from user_svc.sessions.tables import sessions
from user_svc.store import Account, users

ERASED = "~"
"""Prefix of an erased user's name, before the id: such a name cannot be registered."""
UNMATCHABLE = "!"
"""In the place of a hash: no password matches it, here and in the Go system."""

_BY_ID = select(
    users.c.id,
    users.c.username,
    users.c.password.label("password_hash"),
    users.c.generation,
    users.c.disabled_at.is_not(None).label("is_disabled"),
).where(users.c.id == bindparam("whose"), users.c.deleted_at.is_(None))
_is_there = users.c.deleted_at.is_(None)
_is_in = users.c.disabled_at.is_(None)
is_erased = users.c.username.like(f"{ERASED}%")
_state = case(
    (is_erased, "erased"),
    (users.c.deleted_at.is_not(None), "deleted"),
    (users.c.disabled_at.is_not(None), "disabled"),
    else_="active",
)
_LISTED = select(
    users.c.id,
    users.c.username,
    _state.label("state"),
    users.c.generation,
    users.c.created_at,
    users.c.disabled_at,
    users.c.deleted_at,
    select(func.count())
    .select_from(sessions)
    .where(
        sessions.c.user_id == users.c.id,
        sessions.c.ended_at.is_(None),
        sessions.c.generation == users.c.generation,
        sessions.c.expires_at > now(),
        sessions.c.used_at > now() - IDLE,
    )
    .scalar_subquery()
    .label("sessions"),
)


_Changed = Mapping[Any, Any]


@dataclass(frozen=True, slots=True)
class Listed:
    """A user as operators see one. Moments are UTC."""

    id: int
    username: str
    state: str
    """`active`, `disabled`, `deleted` or `erased`."""
    generation: int
    created_at: datetime | None
    disabled_at: datetime | None
    deleted_at: datetime | None
    sessions: int
    """Those that can be refreshed."""


class AccountStore:
    """Changes users. Methods raise the same errors as those of SessionStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, user_id: int, deadline: Deadline) -> Account | None:
        """Return the user with this id, unless deleted."""
        row = repeat(lambda: self._find(user_id, deadline), deadline.patience)
        return None if row is None else Account(**row)

    def change_password(self, account: Account, password_hash: str, kept: bytes, deadline: Deadline) -> int | None:
        """Replace the hash and end all sessions but `kept`; return the new generation.

        None when the user has changed since the hash of `account` was checked.
        """
        values = {users.c.password: password_hash, users.c.updated_at: func.current_timestamp()}
        conditions = (_is_there, _is_in, users.c.password == account.password_hash)
        return self._change(account.id, values, conditions, Ending.PASSWORD_CHANGED, deadline, kept)

    def delete(self, account: Account, deadline: Deadline) -> int | None:
        """Delete the user, whose name stays taken; returns the same as change_password()."""
        values = {users.c.password: UNMATCHABLE, users.c.deleted_at: func.current_timestamp()}
        conditions = (_is_there, _is_in, users.c.password == account.password_hash)
        return self._change(account.id, values, conditions, Ending.DELETED, deadline)

    def disable(self, user_id: int, deadline: Deadline) -> int | None:
        """Disable the user; None when there is no such user."""
        values = {users.c.disabled_at: func.current_timestamp()}
        return self._change(user_id, values, (_is_there, _is_in), Ending.DISABLED, deadline)

    def enable(self, user_id: int, deadline: Deadline) -> bool:
        """Enable the user, whose earlier tokens stay void; return False when there is no such user."""
        statement = (
            update(users)
            .where(users.c.id == user_id, _is_there, users.c.disabled_at.is_not(None))
            .values(disabled_at=None)
        )

        def enable() -> bool:
            with self._database.transaction("enable_user", "UPDATE users") as connection:
                deadline.check()
                if connection.execute(statement).rowcount == 0:
                    return False
                endings.release(connection, user_id)
                return True

        return repeat(enable, deadline.patience)

    def reset_password(self, user_id: int, password_hash: str, deadline: Deadline) -> int | None:
        """Replace the hash, end all sessions and forget wrong passwords; None when there is no such user."""
        values = {users.c.password: password_hash, users.c.updated_at: func.current_timestamp()}
        return self._change(user_id, values, (_is_there,), Ending.PASSWORD_CHANGED, deadline, forget=True)

    def erase(self, user_id: int, deadline: Deadline) -> int | None:
        """Free the name of a user, deleted or not, and delete all data but the id.

        None when there is no such user, or one who is erased already.
        """
        values = {
            users.c.username: f"{ERASED}{user_id}",
            users.c.password: UNMATCHABLE,
            users.c.deleted_at: func.coalesce(users.c.deleted_at, func.current_timestamp()),
        }
        conditions = (~is_erased,)
        return self._change(user_id, values, conditions, Ending.DELETED, deadline, forget=True, unlabel=True)

    def by_name(self, username: str, deadline: Deadline) -> Listed | None:
        """Return the user of this name, in whatever case, deleted or not."""
        found = self.matching(deadline, users.c.username == username)
        return next((user for user in found if user.username.lower() == username.lower()), None)

    def by_id(self, user_id: int, deadline: Deadline) -> Listed | None:
        """Return the user with this id, deleted or not."""
        return next(iter(self.matching(deadline, users.c.id == user_id)), None)

    def matching(self, deadline: Deadline, *conditions: ColumnElement[bool], limit: int = 1) -> list[Listed]:
        """Return users in the order of their ids."""
        statement = _LISTED.where(*conditions).order_by(users.c.id).limit(limit)

        def read() -> list[Listed]:
            with self._database.connection("list_users", "SELECT users") as connection:
                deadline.check()
                return [Listed(**row) for row in connection.execute(statement).mappings()]

        return repeat(read, deadline.patience)

    def _change(
        self,
        user_id: int,
        values: _Changed,
        conditions: tuple[ColumnElement[bool], ...],
        reason: Ending,
        deadline: Deadline,
        kept: bytes = b"",
        *,
        forget: bool = False,
        unlabel: bool = False,
    ) -> int | None:
        statement = update(users).where(users.c.id == user_id, *conditions).values({**values, **endings.RAISED})

        def change() -> Ended | None:
            with self._database.transaction("change_user", "UPDATE users") as connection:
                deadline.check()
                name = connection.scalar(select(users.c.username).where(users.c.id == user_id)) if forget else None
                if connection.execute(statement).rowcount == 0:
                    return None
                if name is not None:
                    throttle.forget(connection, name)
                if unlabel:
                    connection.execute(update(sessions).where(sessions.c.user_id == user_id).values(device=b""))
                return endings.end_all(connection, user_id, reason, kept=kept)

        ended = repeat(change, deadline.patience)
        if ended is None:
            return None
        ended.count(reason)
        return ended.generation

    def _find(self, user_id: int, deadline: Deadline) -> Any:
        with self._database.connection("find_by_id", "SELECT users") as connection:
            deadline.check()
            return connection.execute(_BY_ID, {"whose": user_id}).mappings().first()
