"""What becomes of a user as a whole: password changes, deletion, and what operators do.

Each change is one transaction together with the end of the sessions and tokens that it ends: whatever fails between two
statements, the user is as before.
"""

from typing import Any

from sqlalchemy import ColumnElement, bindparam, func, select, update

from user_svc.database import Database
from user_svc.deadline import Deadline
from user_svc.repeats import repeat
from user_svc.sessions import endings
from user_svc.sessions.endings import Ended
from user_svc.sessions.rules import Ending
from user_svc.store import Account, users

UNMATCHABLE = "!"
"""In the place of a hash: no password matches it, here and in the Go system."""

_BY_ID = select(
    users.c.id,
    users.c.username,
    users.c.password.label("password_hash"),
    users.c.generation,
    users.c.disabled_at.is_not(None).label("is_disabled"),
).where(users.c.id == bindparam("whose"), users.c.deleted_at.is_(None))
_is_checked = users.c.password == bindparam("checked")
_is_in = users.c.disabled_at.is_(None)


class AccountStore:
    """Changes users. Every method raises what those of SessionStore do."""

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
        conditions = (_is_checked, _is_in)
        reason = Ending.PASSWORD_CHANGED
        ended = self._change(account.id, values, conditions, reason, deadline, checked=account.password_hash, kept=kept)
        return None if ended is None else ended.generation

    def delete(self, account: Account, deadline: Deadline) -> int | None:
        """Delete the user, whose name stays taken; returns what change_password() does."""
        values = {users.c.password: UNMATCHABLE, users.c.deleted_at: func.current_timestamp()}
        conditions = (_is_checked, _is_in)
        ended = self._change(account.id, values, conditions, Ending.DELETED, deadline, checked=account.password_hash)
        return None if ended is None else ended.generation

    def _change(
        self,
        user_id: int,
        values: dict[Any, Any],
        conditions: tuple[ColumnElement[bool], ...],
        reason: Ending,
        deadline: Deadline,
        *,
        kept: bytes = b"",
        **checked: str,
    ) -> Ended | None:
        statement = (
            update(users)
            .where(users.c.id == bindparam("whose"), users.c.deleted_at.is_(None), *conditions)
            .values({**values, **endings.RAISED})
        )

        def change() -> Ended | None:
            with self._database.transaction("change_user", "UPDATE users") as connection:
                deadline.check()
                if connection.execute(statement, {"whose": user_id, **checked}).rowcount == 0:
                    return None
                return endings.end_all(connection, user_id, reason, kept=kept)

        ended = repeat(change, deadline.patience)
        if ended is not None:
            ended.count(reason)
        return ended

    def _find(self, user_id: int, deadline: Deadline) -> Any:
        with self._database.connection("find_by_id", "SELECT users") as connection:
            deadline.check()
            return connection.execute(_BY_ID, {"whose": user_id}).mappings().first()
