"""Device tokens: from this device somebody has logged in as this user (OWASP's device cookies).

https://owasp.org/www-community/Slow_Down_Online_Guessing_Attacks_with_Device_Cookies
"""

import secrets
import struct
import time
from typing import NamedTuple

from gateway_svc.tokens.keys import Keys
from gateway_svc.tokens.sealed import BadSealError, Seal

LIFETIME = 180
"""Days."""

_CONTENT = struct.Struct(">QI16sI")
_DAY = 86_400


class Device(NamedTuple):
    """Contents of a valid device token."""

    user_id: int
    generation: int
    """The user's when the token was issued."""
    nonce: bytes
    """What tells it from other tokens."""


class DeviceTokens:
    """Makes and checks device tokens, whose content is user id[8] | generation[4] | nonce[16] | day[4]."""

    def __init__(self, keys: Keys) -> None:
        self._seal = Seal("vpd_", _CONTENT.size, keys.device_keys)

    def use(self, keys: Keys) -> None:
        """Go on with `keys`."""
        self._seal.use(keys.device_keys)

    def issue(self, user_id: int, generation: int) -> str:
        """Return a new token for a user who has just logged in."""
        return self._seal.issue(_CONTENT.pack(user_id, generation, secrets.token_bytes(16), _today()))

    def check(self, token: str | None) -> Device | None:
        """Return the contents of `token`, None when it is invalid: an invalid one counts as none."""
        if token is None:
            return None
        try:
            *said, day = _CONTENT.unpack(self._seal.check(token))
        except BadSealError:
            return None
        return Device(*said) if _today() - day <= LIFETIME else None


def _today() -> int:
    """Return the days since 1970-01-01, in UTC."""
    return int(time.time()) // _DAY
