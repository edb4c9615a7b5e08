"""What both sides of user.v1.UserService must know beside its messages. Written by hand."""

from protos.user.v1 import user_pb2

SERVICE: str = user_pb2.DESCRIPTOR.services_by_name["UserService"].full_name
"""The name under which it is called and its health is served."""

MAX_PASSWORD_BYTES = 72
"""bcrypt reads no further."""
PASSWORD_REASON = f"UTF-8 编码后不能超过 {MAX_PASSWORD_BYTES} 字节，且不能包含 NUL 字符"
"""Why a password is refused that bcrypt does not read to its end."""

RETRY_AFTER = "retry-after"
"""Trailing metadata of RESOURCE_EXHAUSTED: in how many seconds the call may be tried again."""
REFUSAL = "refusal"
"""Trailing metadata of RESOURCE_EXHAUSTED that is absent when too many passwords are being hashed."""
THROTTLED = "throttled"
"""Its value when too many wrong passwords were given for a name."""

LOGIN_TOKEN_SECONDS = 24 * 3600
"""How long an access token lives that belongs to no session, those of the Go system as well."""
SESSION_TOKEN_SECONDS = 15 * 60
"""How long an access token of a session lives."""


def is_bcrypt_password(value: str) -> bool:
    """Tell whether bcrypt reads all of `value`: at most 72 bytes of UTF-8 and no NUL."""
    return len(value.encode()) <= MAX_PASSWORD_BYTES and "\0" not in value
