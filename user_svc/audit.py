"""The audit log: events that concern the security of accounts, one line each, whatever the level and share of others.

A line has the user's id, the beginning of a session's id and the trace id; no name, address or password, and nothing
by which somebody could log in.
"""

import logging
from enum import StrEnum

_SESSION_DIGITS = 8

logger = logging.getLogger("user_svc.audit")
logger.setLevel(logging.INFO)


class Event(StrEnum):
    """The event; the message of the line."""

    REGISTERED = "registered"
    LOGIN_SUCCEEDED = "login_succeeded"
    LOGIN_DENIED = "login_denied"
    PASSWORD_GUESSING = "password_guessing"  # noqa: S105  # no password
    """A wrong password after so many that the next try has to wait."""
    SESSION_OPENED = "session_opened"
    SESSION_ENDED = "session_ended"
    TOKEN_REVOKED = "token_revoked"  # noqa: S105  # no token
    """An access token that belongs to no session."""
    LOGGED_OUT = "logged_out"
    """All sessions and tokens of a user ended."""
    PASSWORD_CHANGED = "password_changed"  # noqa: S105  # no password
    PASSWORD_CHANGE_DENIED = "password_change_denied"  # noqa: S105  # as above
    ACCOUNT_DELETED = "account_deleted"
    ACCOUNT_DELETION_DENIED = "account_deletion_denied"
    DISABLED = "disabled"
    ENABLED = "enabled"
    ERASED = "erased"
    PASSWORD_RESET = "password_reset"  # noqa: S105  # no password


_common: dict[str, str | int] = {}


def attribute_to(actor: str) -> None:
    """Add the actor to each further line of this process, when that is not the user."""
    _common["by"] = actor


def record(event: Event, user_id: int | None, *, session_id: bytes = b"", **details: str | int) -> None:
    """Write a line. `user_id` is None when there is no such user."""
    fields: dict[str, str | int] = {**_common, **details}
    if user_id is not None:
        fields["user_id"] = user_id
    if session_id:
        fields["session"] = session_id.hex()[:_SESSION_DIGITS]
    logger.info(event.value, extra=fields)
