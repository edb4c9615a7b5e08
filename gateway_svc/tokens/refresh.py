"""Refresh tokens: which session, and which of its serial numbers. The gateway makes and checks them without a query."""

import struct
from typing import NamedTuple

from gateway_svc import metrics
from gateway_svc.tokens.keys import Keys
from gateway_svc.tokens.sealed import BadSealError, Seal

_CONTENT = struct.Struct(">16sI")


class InvalidRefreshTokenError(Exception):
    """The refresh token is invalid."""


class Presented(NamedTuple):
    """Contents of a valid refresh token."""

    session_id: bytes
    serial: int


class RefreshTokens:
    """Makes and checks refresh tokens, whose content is session id[16] | serial[4]."""

    def __init__(self, keys: Keys) -> None:
        self._seal = Seal("vpr_", _CONTENT.size, keys.refresh_keys)

    def use(self, keys: Keys) -> None:
        """Go on with `keys`."""
        self._seal.use(keys.refresh_keys)

    def issue(self, session_id: bytes, serial: int) -> str:
        """Return the token of a session's serial number, always by the newest key."""
        return self._seal.issue(_CONTENT.pack(session_id, serial))

    def check(self, token: str) -> Presented:
        """Return the contents of `token` after checking its MAC.

        Raises:
            InvalidRefreshTokenError: without a reason, which is counted in refresh_tokens_checked_total instead.
        """
        try:
            content = self._seal.check(token)
        except BadSealError as error:
            metrics.refresh_token_checked(error.result)
            raise InvalidRefreshTokenError from None
        metrics.refresh_token_checked("ok")
        return Presented(*_CONTENT.unpack(content))
