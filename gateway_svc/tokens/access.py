"""Access tokens: JWTs (RFC 7519), of a login with HS256 or of a session with ES256."""

import enum
import hashlib
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from jwt.exceptions import InvalidJTIError, InvalidSubjectError
from jwt.utils import base64url_decode, base64url_encode

from gateway_svc import metrics
from gateway_svc.tokens.keys import Keys
from gateway_svc.tokens.verified import VerifiedTokens, digest_of
from protos.user.v1.contract import LOGIN_TOKEN_SECONDS, SESSION_TOKEN_SECONDS

LEEWAY = 30
"""Seconds by which clocks may differ."""
MAX_GENERATION = 2**32 - 1
MAX_LENGTH = 8192
"""Characters; anything longer is refused unread."""

_SESSION_TYPE = "at+jwt"
"""RFC 9068, section 2.1."""
_MAX_USER_ID = 2**63 - 1


class InvalidTokenError(Exception):
    """The token is invalid."""


class Kind(enum.Enum):
    """Origin of a token, a label value of tokens_accepted_total."""

    LOGIN = "login"
    SESSION = "session"
    LEGACY = "legacy"
    """A login at the Go system or at an older gateway: the token has no generation."""


class Identity(NamedTuple):
    """The user of a token."""

    user_id: int
    username: str
    expires: int
    """When the token is refused, as Unix time: `exp` and the leeway."""
    kind: Kind
    revocation_id: bytes
    """By what it is revoked alone: its session's id, or for a token of a login its own, the first 16 bytes of SHA-256
    over its signing input."""
    generation: int | None
    """The user's when the login was checked; None in legacy tokens."""
    issued: int
    """Unix time."""


class _Verifier(NamedTuple):
    """What a `kid` selects: key, algorithm and kind (RFC 8725, section 3.1)."""

    key: str | EllipticCurvePublicKey
    algorithm: str
    is_session: bool


class AccessTokens:
    """Issues and verifies access tokens.

    A token's header names its key by `kid`. Tokens without one, such as those that the Go system made, are tried with
    every secret. Valid tokens are remembered; whether one has expired or was revoked is looked at each time.
    """

    def __init__(self, keys: Keys, *, issuer: str, audience: str, is_revoked: Callable[[Identity], bool]) -> None:
        """Sign with the first of `keys`; verify with all of them, and refuse what `is_revoked`."""
        self._is_revoked = is_revoked
        self._issuer = issuer
        self._audience = audience
        self._jwt = jwt.PyJWT({"require": ["exp", "user_id", "username"]})
        self._session_jwt = jwt.PyJWT(
            {"require": ["exp", "iat", "user_id", "username", "sid", "gen", "iss", "aud"], "strict_aud": True}
        )
        self._verified = VerifiedTokens[Identity]()
        self.use(keys)

    def use(self, keys: Keys) -> None:
        """Use `keys` from now on, and verify remembered tokens again."""
        self._keys = keys
        self._logins = {kid: _Verifier(secret, "HS256", is_session=False) for kid, secret in keys.secrets.items()}
        self._sessions = {
            kid: _Verifier(key.public, "ES256", is_session=True) for kid, key in keys.session_keys.items()
        }
        # The headers of honest tokens are known, letter for letter: those need not be parsed twice to find the key.
        self._known: dict[str, tuple[_Verifier, ...]] = {
            _header(_sign_login({}, secret, kid)): (self._logins[kid],) for kid, secret in keys.secrets.items()
        }
        for kid in keys.session_keys:
            self._known[_header(_sign_session({}, keys, kid))] = (self._sessions[kid],)
        self._known[_header(jwt.encode({}, keys.secret, "HS256"))] = tuple(self._logins.values())
        self._verified.clear()

    def issue(self, user_id: int, username: str, generation: int | None) -> str:
        """Return the token of a login, valid for `LOGIN_TOKEN_SECONDS`."""
        claims = self._claims_of(user_id, username, LOGIN_TOKEN_SECONDS)
        if generation is not None:
            claims["gen"] = generation
        return _sign_login(claims, self._keys.secret, next(iter(self._keys.secrets)))

    def issue_for_session(self, user_id: int, username: str, generation: int, session_id: bytes) -> str:
        """Return an access token of a session, valid for `SESSION_TOKEN_SECONDS`."""
        claims = self._claims_of(user_id, username, SESSION_TOKEN_SECONDS)
        claims |= {"aud": self._audience, "sid": session_id.hex(), "gen": generation}
        return _sign_session(claims, self._keys, self._keys.session_key.kid)

    def jwks(self) -> list[dict[str, str]]:
        """Return the public keys of session tokens (RFC 7517, section 5)."""
        return [dict(key.jwk) for key in self._keys.session_keys.values()]

    def verify(self, token: str) -> Identity:
        """Return the identity in `token`.

        Raises:
            InvalidTokenError: without a reason, which is counted in token_verifications_total instead.
        """
        digest = digest_of(token)
        identity = self._verified.get(digest)
        if identity is None or identity.expires <= time.time():
            identity = self._verify(token)
            self._verified.put(digest, identity)
        if self._is_revoked(identity):
            metrics.token_refused("revoked")
            raise InvalidTokenError
        metrics.token_accepted(identity.kind.value)
        return identity

    def _claims_of(self, user_id: int, username: str, lifetime: int) -> dict[str, object]:
        now = int(time.time())
        return {
            "user_id": user_id,
            "username": username,
            "sub": str(user_id),
            "iat": now,
            "exp": now + lifetime,
            "jti": secrets.token_hex(16),
            "iss": self._issuer,
        }

    def _verify(self, token: str) -> Identity:
        try:
            return self._identity(token)
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
        metrics.token_refused(result)
        raise InvalidTokenError

    def _identity(self, token: str) -> Identity:
        if len(token) > MAX_LENGTH or not _is_canonical(token):
            raise jwt.DecodeError
        for verifier in self._known.get(_header(token)) or self._verifiers_for(token):
            try:
                claims = self._decode(token, verifier)
            except jwt.InvalidSignatureError:
                continue
            return self._checked(claims, token, verifier)
        raise jwt.InvalidSignatureError

    def _decode(self, token: str, verifier: _Verifier) -> dict[str, Any]:
        if verifier.is_session:
            return self._session_jwt.decode(
                token, verifier.key, [verifier.algorithm], audience=self._audience, leeway=LEEWAY
            )
        return self._jwt.decode(token, verifier.key, [verifier.algorithm], leeway=LEEWAY)

    def _verifiers_for(self, token: str) -> Iterable[_Verifier]:
        header = jwt.get_unverified_header(token)
        kid = header.get("kid")
        # A key of one kind is not looked for by a token that claims to be of the other (RFC 8725, section 3.11).
        is_session = header.get("typ") == _SESSION_TYPE
        if kid is None:
            return () if is_session else self._logins.values()
        return filter(None, [(self._sessions if is_session else self._logins).get(kid)])

    def _checked(self, claims: dict[str, Any], token: str, verifier: _Verifier) -> Identity:
        user_id, username = claims["user_id"], claims["username"]
        if not _is_number(user_id, 1, _MAX_USER_ID):
            raise _ClaimError
        if not isinstance(username, str) or not username or len(username) > 255:
            raise _ClaimError
        username.encode()  # the standard library's JSON lets lone surrogates through, which no answer can carry
        if claims.get("iss", self._issuer) != self._issuer or ("aud" in claims) != verifier.is_session:
            raise _ClaimError
        generation = claims.get("gen")
        if "gen" in claims and not _is_number(generation, 0, MAX_GENERATION):
            raise _ClaimError
        expires = int(claims["exp"])
        return Identity(
            user_id,
            username,
            expires + LEEWAY,
            Kind.SESSION if verifier.is_session else Kind.LEGACY if generation is None else Kind.LOGIN,
            _session_id(claims["sid"]) if verifier.is_session else _token_id(token),
            generation,
            int(claims["iat"]) if "iat" in claims else expires - LOGIN_TOKEN_SECONDS,
        )


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


def _sign_login(claims: dict[str, object], secret: str, kid: str) -> str:
    return jwt.encode(claims, secret, "HS256", headers={"kid": kid})


def _sign_session(claims: dict[str, object], keys: Keys, kid: str) -> str:
    key = keys.session_keys[kid].private
    return jwt.encode(claims, key, "ES256", headers={"kid": kid, "typ": _SESSION_TYPE})


def _is_number(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most  # bool is a subclass of int


def _session_id(sid: object) -> bytes:
    try:
        session_id = bytes.fromhex(sid) if isinstance(sid, str) else b""
    except ValueError:
        raise _ClaimError from None
    if len(session_id) != 16:
        raise _ClaimError
    return session_id


def _token_id(token: str) -> bytes:
    return hashlib.sha256(token.rpartition(".")[0].encode()).digest()[:16]


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
