"""What a username and a password must be, as the RPC contract says it."""

import re

_USERNAME = re.compile(r"[A-Za-z0-9_]{3,20}\Z")
_PASSWORD_BYTES = 72
"""bcrypt reads no further."""


def problem(username: str, password: str) -> str | None:
    """Return `<field>: <reason>` for the first field that breaks the contract; never shows what was sent."""
    if not _USERNAME.match(username):
        return "username: 须为 3 到 20 个字母、数字或下划线"
    if not 6 <= len(password) <= 32:
        return "password: 长度须为 6 到 32 个字符"
    if "\0" in password:
        return "password: 不能包含空字符"
    if len(password.encode()) > _PASSWORD_BYTES:
        return f"password: UTF-8 编码后不能超过 {_PASSWORD_BYTES} 字节"
    return None
