"""Opaque tokens of the gateway's own: <prefix> + base64url(kid[4] | content | HMAC-SHA256[24])."""

import base64
import hmac
import re
from collections.abc import Mapping

from gateway_svc.tokens.keys import MacKey

_KID_BYTES = 4
_MAC_BYTES = 24


class BadSealError(Exception):
    """The token was not made with any of the keys."""

    def __init__(self, result: str) -> None:
        """`result` is one of malformed, unknown_key, bad_mac."""
        super().__init__(result)
        self.result = result


class Seal:
    """Makes and checks the tokens of one prefix."""

    def __init__(self, prefix: str, content_bytes: int, keys: Mapping[bytes, MacKey]) -> None:
        """Sign with the first of `keys`, which are by `kid`; accept all.

        Raises:
            ValueError: when contents of `content_bytes` would give a token more than one spelling.
        """
        size = _KID_BYTES + content_bytes + _MAC_BYTES
        if size % 3:
            raise ValueError(f"{size} bytes need padding or unused bits in base64url")
        self._prefix = prefix
        self._keys = keys
        self._token = re.compile(f"{prefix}([A-Za-z0-9_-]{{{size // 3 * 4}}})")

    def use(self, keys: Mapping[bytes, MacKey]) -> None:
        """Go on with `keys`."""
        self._keys = keys

    def issue(self, content: bytes) -> str:
        """Return the token of `content`, always by the newest key."""
        kid, key = next(iter(self._keys.items()))
        sealed = kid + content
        return self._prefix + base64.urlsafe_b64encode(sealed + _mac(key, sealed)).decode()

    def check(self, token: str) -> bytes:
        """Return the content of `token`, once its MAC is found to be right.

        Raises:
            BadSealError: otherwise.
        """
        match = self._token.fullmatch(token)
        if match is None:
            raise BadSealError("malformed")
        raw = base64.urlsafe_b64decode(match[1])
        sealed, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        key = self._keys.get(sealed[:_KID_BYTES])
        if key is None:
            raise BadSealError("unknown_key")
        if not hmac.compare_digest(mac, _mac(key, sealed)):
            raise BadSealError("bad_mac")
        return sealed[_KID_BYTES:]


def _mac(key: MacKey, sealed: bytes) -> bytes:
    return hmac.digest(key.key, sealed, "sha256")[:_MAC_BYTES]
