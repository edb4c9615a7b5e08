"""Rules of the fields of requests, as in the RPC contract."""

import re

from protos.user.v1 import contract

_USERNAME = re.compile(r"[A-Za-z0-9_]+")
_USERNAME_LENGTH = (3, 20)
_PASSWORD_LENGTH = (6, 32)
_ID_LENGTH = 16


def problem(username: str, password: str) -> str | None:
    """Return `<field>: <reason>` for the first field that breaks the contract; never shows the value."""
    if reason := _length(username, *_USERNAME_LENGTH):
        return f"username: {reason}"
    if not _USERNAME.fullmatch(username):
        return "username: 只能包含字母、数字和下划线"
    return password_problem(password)


def password_problem(password: str, field: str = "password") -> str | None:
    """Return `<field>: <reason>` when no password can be like this."""
    if reason := _length(password, *_PASSWORD_LENGTH):
        return f"{field}: {reason}"
    return None if contract.is_bcrypt_password(password) else f"{field}: {contract.PASSWORD_REASON}"


def id_problem(value: bytes, field: str = "session_id") -> str | None:
    """Return `<field>: <reason>` when no session or token can have this id."""
    return None if len(value) == _ID_LENGTH else f"{field}: 必须是 {_ID_LENGTH} 字节"


def user_problem(user_id: int) -> str | None:
    """Return `<field>: <reason>` when no user can have this id."""
    return None if user_id > 0 else "user_id: 必须是正整数"


def _length(value: str, least: int, most: int) -> str | None:
    if len(value) < least:
        return f"至少 {least} 个字符"
    return f"至多 {most} 个字符" if len(value) > most else None
