"""What a username and a password must be, as the RPC contract says it."""

import re

from protos.user.v1 import contract

_USERNAME = re.compile(r"[A-Za-z0-9_]+")
_USERNAME_LENGTH = (3, 20)
_PASSWORD_LENGTH = (6, 32)


def problem(username: str, password: str) -> str | None:
    """Return `<field>: <reason>` for the first field that breaks the contract; never shows what was sent."""
    if reason := _length(username, *_USERNAME_LENGTH):
        return f"username: {reason}"
    if not _USERNAME.fullmatch(username):
        return "username: 只能包含字母、数字和下划线"
    if reason := _length(password, *_PASSWORD_LENGTH):
        return f"password: {reason}"
    if not contract.is_bcrypt_password(password):
        return f"password: {contract.PASSWORD_REASON}"
    return None


def _length(value: str, least: int, most: int) -> str | None:
    if len(value) < least:
        return f"至少 {least} 个字符"
    return f"至多 {most} 个字符" if len(value) > most else None
