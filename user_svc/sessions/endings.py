"""The end of all of a user's sessions and tokens, in the transaction in which something else about the user changes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, or_, select, update

from protos.user.v1.contract import LOGIN_TOKEN_SECONDS
from user_svc import metrics
from user_svc.clock import now
from user_svc.sessions.rules import Ending
from user_svc.sessions.tables import revocations, sessions
from user_svc.store import users

MARGIN = 60_000
"""Milliseconds that a revocation outlives the tokens that it concerns, which gateways accept with some leeway."""

RAISED: Mapping[Any, Any] = {
    users.c.generation: users.c.generation + 1,
    users.c.generation_at: func.current_timestamp(),
}
"""Columns that an UPDATE of `users` must set before end_all()."""

_USER = select(
    users.c.generation, or_(users.c.disabled_at.is_not(None), users.c.deleted_at.is_not(None)).label("is_out")
).where(users.c.id == bindparam("whose"))
_GO_ON = (
    update(sessions)
    .where(
        sessions.c.id == bindparam("kept"),
        sessions.c.user_id == bindparam("whose"),
        sessions.c.generation == bindparam("new") - 1,
        sessions.c.ended_at.is_(None),
    )
    .values(generation=bindparam("new"))
)
_END = (
    update(sessions)
    .where(sessions.c.user_id == bindparam("whose"), sessions.c.ended_at.is_(None), sessions.c.id != bindparam("kept"))
    .values(ended_at=now(), end_reason=bindparam("reason"))
)
_FOR_GOOD = insert(revocations).values(
    kind="user", user_id=bindparam("whose"), generation=bindparam("new"), disabled=True, at=now()
)
"""Kept for as long as the user is disabled or deleted."""
_RELEASED = {"disabled": False, "expires_at": now() + LOGIN_TOKEN_SECONDS * 1000 + MARGIN}
_REVOKE = insert(revocations).values(
    kind="user", user_id=bindparam("whose"), generation=bindparam("new"), at=now(), **_RELEASED
)
_RELEASE = (
    update(revocations).where(revocations.c.user_id == bindparam("whose"), revocations.c.disabled).values(_RELEASED)
)


@dataclass(frozen=True, slots=True)
class Ended:
    """Result of end_all()."""

    generation: int
    """The user's new one."""
    sessions: int

    def count(self, reason: Ending) -> None:
        """Count the sessions, once the transaction is committed."""
        metrics.sessions_ended.labels(reason.value).inc(self.sessions)


def end_all(connection: Connection, user_id: int, reason: Ending, *, kept: bytes = b"") -> Ended:
    """End a user's sessions except for `kept`, and tell gateways that all tokens of earlier generations are void."""
    user = connection.execute(_USER, {"whose": user_id}).one()
    values = {"whose": user_id, "new": user.generation}
    if kept:
        connection.execute(_GO_ON, {**values, "kept": kept})
    ended = connection.execute(_END, {"whose": user_id, "kept": kept, "reason": reason.value}).rowcount
    connection.execute(_FOR_GOOD if user.is_out else _REVOKE, values)
    return Ended(user.generation, ended)


def release(connection: Connection, user_id: int) -> None:
    """Record for gateways that a disabled user is enabled again. Void tokens stay void."""
    user = connection.execute(_USER, {"whose": user_id}).one()
    connection.execute(_RELEASE, {"whose": user_id})
    connection.execute(_REVOKE, {"whose": user_id, "new": user.generation})
