"""What clients prove with who they are: access tokens and refresh tokens, and the keys behind them."""

from gateway_svc.tokens.access import (
    LEEWAY,
    AccessTokens,
    Identity,
    InvalidTokenError,
    Kind,
)
from gateway_svc.tokens.keys import MIN_SECRET_BYTES, Keys, can_sign, key_id
from gateway_svc.tokens.refresh import InvalidRefreshTokenError, RefreshTokens

__all__ = [
    "LEEWAY",
    "MIN_SECRET_BYTES",
    "AccessTokens",
    "Identity",
    "InvalidRefreshTokenError",
    "InvalidTokenError",
    "Keys",
    "Kind",
    "RefreshTokens",
    "can_sign",
    "key_id",
]
