"""Keys: all of them follow from the secrets, so that replicas agree and an upgrade needs no new Secret."""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from jwt.algorithms import ECAlgorithm, HMACAlgorithm
from jwt.exceptions import InvalidKeyError
from jwt.utils import base64url_encode

MIN_SECRET_BYTES = 32
"""A key of at least the size of the hash's output (RFC 7518, section 3.2). Nothing is derived from shorter ones."""

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""SEC 2, section 2.4.2."""


class SessionKey:
    """A key of ES256, for the access tokens of sessions."""

    def __init__(self, secret: str) -> None:
        # 48 bytes, so that the remainder is as good as uniform (FIPS 186-5, appendix A.2.1).
        number = int.from_bytes(_derive(secret, "es256 v1", 48)) % (_P256_ORDER - 1) + 1
        self.private = ec.derive_private_key(number, ec.SECP256R1())
        self.public = self.private.public_key()
        point: dict[str, Any] = ECAlgorithm.to_jwk(self.public, as_dict=True)
        members = json.dumps({name: point[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":"))
        self.kid = base64url_encode(hashlib.sha256(members.encode()).digest()).decode()
        """The thumbprint of the public key (RFC 7638)."""
        self.jwk: Mapping[str, str] = {**point, "use": "sig", "alg": "ES256", "kid": self.kid}
        """The public key (RFC 7517)."""


class MacKey:
    """A key of the MACs of tokens that only gateways read."""

    def __init__(self, secret: str, label: str) -> None:
        self.key = _derive(secret, label, 32)
        self.kid = hmac.digest(self.key, b"kid", "sha256")[:4]


class Keys:
    """The keys of one secret that signs and of the previous ones, whose tokens are still accepted."""

    def __init__(self, secret: str, previous: Sequence[str] = ()) -> None:
        """Derive all keys.

        Raises:
            ValueError: when `secret` is shorter than `MIN_SECRET_BYTES`; the previous ones may be.
        """
        if len(secret.encode()) < MIN_SECRET_BYTES:
            raise ValueError(f"must be at least {MIN_SECRET_BYTES} bytes long")
        self.secret = secret
        self.secrets: Mapping[str, str] = {key_id(each): each for each in (secret, *previous)}
        """Of HS256, by `kid`; the first one signs."""
        long = [each for each in self.secrets.values() if len(each.encode()) >= MIN_SECRET_BYTES]
        sessions = [SessionKey(each) for each in long]
        self.session_key = sessions[0]
        self.session_keys: Mapping[str, SessionKey] = {key.kid: key for key in sessions}
        self.refresh_keys = _mac_keys(long, "refresh v1")
        """By `kid`; the first one signs, as of the device keys."""
        self.device_keys = _mac_keys(long, "device v1")


def can_sign(secret: str) -> bool:
    """Whether PyJWT takes `secret` as a key of HS256: it refuses what looks like a key of another algorithm."""
    try:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except InvalidKeyError:
        return False
    return True


def key_id(secret: str) -> str:
    """Return the public name of `secret`: part of a keyed hash, which reveals nothing but equality."""
    return hmac.new(secret.encode(), b"kid", hashlib.sha256).hexdigest()[:8]


def _mac_keys(secrets: Sequence[str], label: str) -> Mapping[bytes, MacKey]:
    return {key.kid: key for key in (MacKey(each, label) for each in secrets)}


def _derive(secret: str, label: str, length: int) -> bytes:
    """Return key material for one purpose (RFC 5869)."""
    return HKDF(SHA256(), length=length, salt=None, info=label.encode()).derive(secret.encode())
