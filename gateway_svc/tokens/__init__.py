"""Access, refresh and device tokens, and their keys."""

from gateway_svc.tokens.access import (
    LEEWAY,
    MAX_GENERATION,
    AccessTokens,
    Identity,
    InvalidTokenError,
    Kind,
)
from gateway_svc.tokens.device import Device, DeviceTokens
from gateway_svc.tokens.keys import MIN_SECRET_BYTES, Keys, can_sign, key_id
from gateway_svc.tokens.refresh import InvalidRefreshTokenError, RefreshTokens

__all__ = [
    "LEEWAY",
    "MAX_GENERATION",
    "MIN_SECRET_BYTES",
    "AccessTokens",
    "Device",
    "DeviceTokens",
    "Identity",
    "InvalidRefreshTokenError",
    "InvalidTokenError",
    "Keys",
    "Kind",
    "RefreshTokens",
    "can_sign",
    "key_id",
]
