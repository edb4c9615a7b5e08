"""Tokens: JWTs (RFC 7519) signed with HS256."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jwt
from jwt.exceptions import InvalidJTIError, InvalidSubjectError
from jwt.utils import base64url_decode, base64url_encode

from gateway_svc import metrics

LIFETIME = 24 * 60 * 60
"""Seconds."""
LEEWAY = 30
"""Seconds by which clocks may differ."""
MAX_LENGTH = 8192
"""Characters; anything longer is refused unread."""

MAX_VERIFIED = 20_000
"""Tokens whose verification is remembered."""

_ALGORITHM = "HS256"
_MAX_USER_ID = 2**63 - 1


class InvalidTokenError(Exception):
    """The token proves nothing."""


class Identity(NamedTuple):
    """Whom a token speaks for."""

    user_id: int
    username: str
    expires: int
    """When the token is refused, as Unix time: `exp` and the leeway."""


class Tokens:
    """Issues and verifies tokens.

    A token's header names its key by `kid`. Tokens without one, such as those that the Go system made, are tried with
    every key. Valid tokens are remembered by their digest: to check a signature takes longer than the rest of a
    request.
    """

    def __init__(self, secret: str, previous: Sequence[str] = (), *, issuer: str) -> None:
        """Sign with `secret`; verify with it and, during a rotation, with the `previous` ones."""
        self._secret = secret
        self._issuer = issuer
        self._kid = key_id(secret)
        self._keys = {key_id(each): each for each in (secret, *previous)}
        self._jwt = jwt.PyJWT({"require": ["exp", "user_id", "username"]})
        # The headers of honest tokens are known, letter for letter: those need not be parsed twice to find the key.
        self._known: dict[str, tuple[str, ...]] = {
            _header(self._sign({}, secret, kid)): (key,) for kid, key in self._keys.items()
        }
        self._known[_header(self._jwt.encode({}, secret, _ALGORITHM))] = tuple(self._keys.values())
        # Two generations: dropping the older one as a whole needs less memory than an order of all.
        self._verified: dict[bytes, Identity] = {}
        self._verified_before: dict[bytes, Identity] = {}

    def issue(self, user_id: int, username: str) -> str:
        """Return a token for the user, valid for `LIFETIME`."""
        now = int(time.time())
        claims = {
            "user_id": user_id,
            "username": username,
            "sub": str(user_id),
            "iat": now,
            "exp": now + LIFETIME,
            "jti": secrets.token_hex(16),
            "iss": self._issuer,
        }
        return self._sign(claims, self._secret, self._kid)

    def verify(self, token: str) -> Identity:
        """Return whom `token` speaks for.

        Raises:
            InvalidTokenError: without a reason, which is counted in token_verifications_total instead.
        """
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        identity = self._verified.get(digest)
        if identity is None:
            identity = self._verified_before.pop(digest, None) or self._verify(token)
            if len(self._verified) >= MAX_VERIFIED // 2:
                self._verified, self._verified_before = {}, self._verified
            self._verified[digest] = identity
        if identity.expires <= time.time():
            identity = self._verify(token)
        metrics.token_verified("ok")
        return identity

    def _verify(self, token: str) -> Identity:
        try:
            return self._identity(self._claims(token))
        except jwt.ExpiredSignatureError:
            result = "expired"
        except jwt.ImmatureSignatureError:
            result = "not_yet_valid"
        except jwt.InvalidSignatureError:
            result = "bad_signature"
        except _BAD_CLAIMS:
            result = "bad_claims"
        except (jwt.InvalidTokenError, UnicodeEncodeError):
            result = "malformed"
        metrics.token_verified(result)
        raise InvalidTokenError

    def _claims(self, token: str) -> dict[str, Any]:
        if len(token) > MAX_LENGTH or not _is_canonical(token):
            raise jwt.DecodeError
        for key in self._known.get(_header(token)) or self._keys_for(token):
            try:
                return self._jwt.decode(token, key, [_ALGORITHM], leeway=LEEWAY)
            except jwt.InvalidSignatureError:
                continue
        raise jwt.InvalidSignatureError

    def _keys_for(self, token: str) -> Iterable[str]:
        kid = jwt.get_unverified_header(token).get("kid")
        return self._keys.values() if kid is None else filter(None, [self._keys.get(kid)])

    def _sign(self, claims: dict[str, Any], key: str, kid: str) -> str:
        return self._jwt.encode(claims, key, _ALGORITHM, headers={"kid": kid})

    def _identity(self, claims: dict[str, Any]) -> Identity:
        user_id, username = claims["user_id"], claims["username"]
        if type(user_id) is not int or not 0 < user_id <= _MAX_USER_ID:  # bool is a subclass of int
            raise _ClaimError
        if not isinstance(username, str) or not username or len(username) > 255:
            raise _ClaimError
        username.encode()  # the standard library's JSON lets lone surrogates through, which no answer can carry
        if claims.get("iss", self._issuer) != self._issuer:
            raise _ClaimError
        return Identity(user_id, username, int(claims["exp"]) + LEEWAY)


class _ClaimError(Exception):
    pass


_BAD_CLAIMS = (
    jwt.MissingRequiredClaimError,
    jwt.InvalidAudienceError,
    jwt.InvalidIssuerError,
    InvalidSubjectError,
    InvalidJTIError,
    _ClaimError,
)


def _header(token: str) -> str:
    return token.partition(".")[0]


def _is_canonical(token: str) -> bool:
    """Tell whether each part is spelled as base64url encodes it (RFC 7515, section 2).

    Decoders take further spellings of the last character and of padding; one token must not have several digests.
    """
    try:
        return all(base64url_encode(base64url_decode(part)).decode() == part for part in token.split("."))
    except ValueError:
        return False


def key_id(secret: str) -> str:
    """Return the public name of `secret`: part of a keyed hash, from which nothing can be told but equality."""
    return hmac.new(secret.encode(), b"kid", hashlib.sha256).hexdigest()[:8]
