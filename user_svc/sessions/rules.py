"""Rules for refresh tokens. No clock is read and nothing is written here."""

from dataclasses import dataclass
from enum import StrEnum

GRACE = 10_000
"""Milliseconds since a rotation in which its refresh token, and the one before, give the same answer again.

Longer than a call may take (REFRESH_SECONDS), so that one that was stuck cannot void what its client got elsewhere.
"""
IDLE = 14 * 86_400_000
"""Milliseconds after which a session that is not used expires."""
LIFETIME = 30 * 86_400_000
"""Milliseconds after which any session expires."""


class Ending(StrEnum):
    """Why a session ended, as stored."""

    LOGOUT = "logout"
    LOGOUT_ALL = "logout_all"
    LIMIT = "limit"
    """The user opened more sessions than there may be."""
    REUSED = "reused"
    """A void refresh token was presented: two parties use the chain."""
    PASSWORD_CHANGED = "password_changed"  # noqa: S105  # no password
    DISABLED = "disabled"
    DELETED = "deleted"


class Result(StrEnum):
    """Outcomes of a refresh."""

    ROTATED = "rotated"
    """A new token replaces the presented one."""
    REPEATED = "repeated"
    """The newest token is returned again; nothing is written."""
    RECOVERED = "recovered"
    """The response to the last rotation was lost: a new token replaces the one in it, which is void."""
    REUSED = "reused"
    """A void token: the session is to end."""
    REUSED_BEFORE = "reused_before"
    UNKNOWN = "unknown"
    """No such session, or a serial that it never had, as after the restoration of a backup."""
    EXPIRED = "expired"
    ENDED = "ended"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105  # as above
    DISABLED = "disabled"


_ENDED: dict[str, Result] = {
    Ending.REUSED: Result.REUSED_BEFORE,
    Ending.PASSWORD_CHANGED: Result.PASSWORD_CHANGED,
}
"""Outcomes for sessions that ended for another reason than a logout."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session and its user, with the database's moment at which they were read; milliseconds since the epoch."""

    now: int
    user_id: int
    username: str
    generation: int
    """Of the user, when the password was checked with which the session was opened."""
    serial: int
    """Of the newest refresh token."""
    previous: int
    """Of the one for which that was given; 0 at first."""
    rotated_at: int
    """When the newest was given first."""
    used_at: int
    expires_at: int
    end_reason: str | None
    user_generation: int
    is_disabled: bool

    @property
    def usable_until(self) -> int:
        """When the session expires unless it is used."""
        return min(self.used_at + IDLE, self.expires_at)

    @property
    def is_in_grace(self) -> bool:
        """Whether the last rotation is so recent that it is repeated."""
        return self.now - self.rotated_at < GRACE


def decide(session: Session | None, presented: int) -> Result:
    """Return the outcome of using the refresh token with the serial `presented` now."""
    if session is None or not 0 < presented <= session.serial:
        return Result.UNKNOWN
    if refusal := _refusal(session):
        return refusal
    if presented not in {session.serial, session.previous}:
        return Result.REUSED
    if session.is_in_grace:
        return Result.REPEATED
    return Result.ROTATED if presented == session.serial else Result.RECOVERED


def _refusal(session: Session) -> Result | None:
    if session.is_disabled:
        return Result.DISABLED
    if session.end_reason is not None:
        return _ENDED.get(session.end_reason, Result.ENDED)
    if session.generation != session.user_generation:
        return Result.ENDED
    return Result.EXPIRED if session.now >= session.usable_until else None
