"""Refresh tokens: which session, and which of its serial numbers. The gateway makes and checks them without a query."""

import base64
import hmac
import re
import struct
from typing import NamedTuple

from gateway_svc import metrics
from gateway_svc.tokens.keys import Keys

_PREFIX = "vpr_"
_CONTENT = struct.Struct(">4s16sI")
_MAC_BYTES = 24
_TOKEN = re.compile(r"vpr_([A-Za-z0-9_-]{64})")
"""48 bytes need neither padding nor unused bits, so each token has one spelling."""


class InvalidRefreshTokenError(Exception):
    """The refresh token proves nothing."""


class Presented(NamedTuple):
    """What a valid refresh token says."""

    session_id: bytes
    serial: int


class RefreshTokens:
    """Makes and checks refresh tokens: "vpr_" + base64url(kid[4] | session id[16] | serial[4] | HMAC-SHA256[24])."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def use(self, keys: Keys) -> None:
        """Go on with `keys`."""
        self._keys = keys

    def issue(self, session_id: bytes, serial: int) -> str:
        """Return the token of a session's serial number, always by the newest key."""
        key = self._keys.refresh_key
        content = _CONTENT.pack(key.kid, session_id, serial)
        return _PREFIX + base64.urlsafe_b64encode(content + _mac(key.key, content)).decode()

    def check(self, token: str) -> Presented:
        """Return what `token` says, once its MAC is found to be right.

        Raises:
            InvalidRefreshTokenError: without a reason, which is counted in refresh_tokens_checked_total instead.
        """
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise _refused("malformed")
        raw = base64.urlsafe_b64decode(match[1])
        content, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        kid, session_id, serial = _CONTENT.unpack(content)
        key = self._keys.refresh_keys.get(kid)
        if key is None:
            raise _refused("unknown_key")
        if not hmac.compare_digest(mac, _mac(key.key, content)):
            raise _refused("bad_mac")
        metrics.refresh_token_checked("ok")
        return Presented(session_id, serial)


def _mac(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, "sha256")[:_MAC_BYTES]


def _refused(result: str) -> InvalidRefreshTokenError:
    metrics.refresh_token_checked(result)
    return InvalidRefreshTokenError()
