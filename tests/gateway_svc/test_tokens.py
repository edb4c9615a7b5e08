"""Tokens under attack, tokens of others, and the rotation of secrets."""

import base64
import hashlib
import hmac
import json
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway_svc.tokens import LEEWAY, AccessTokens, InvalidTokenError, Keys, key_id
from gateway_svc.tokens.verified import VerifiedTokens
from tests.gateway_svc.conftest import PREVIOUS, SECRET, StartGateway, admin
from tests.support.process import Process
from tests.support.users_stub import UsersStub
from tests.support.wait import wait_until

pytestmark = pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")

CLAIMS: dict[str, Any] = {"user_id": 7, "username": "testuser123"}
KID = key_id(SECRET)


def made_of(*secrets: str, issuer: str = "us") -> AccessTokens:
    return AccessTokens(Keys(secrets[0], secrets[1:]), issuer=issuer, audience="us", is_revoked=lambda _: False)


SESSION_KEY = Keys(SECRET).session_key
SESSION_CLAIMS: dict[str, Any] = {
    "iat": int(time.time()),
    "sid": "00112233445566778899aabbccddeeff",
    "gen": 0,
    "iss": "video-platform",
    "aud": "video-platform",
}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def token(
    header: dict[str, Any] | bytes | None = None, *, key: str = SECRET, raw: bytes | None = None, **claims: Any
) -> str:
    """Sign whatever is asked for; None takes a claim away."""
    payload = {"exp": int(time.time()) + 3600, **CLAIMS, **claims}
    payload = {name: value for name, value in payload.items() if value is not None}
    if not isinstance(header, bytes):
        header = json.dumps(header or {"alg": "HS256", "typ": "JWT"}).encode()
    signed = f"{b64(header)}.{b64(raw or json.dumps(payload).encode())}"
    return f"{signed}.{b64(hmac.digest(key.encode(), signed.encode(), 'sha256'))}"


def session_token(header: dict[str, Any] | None = None, *, key: Any = SESSION_KEY.private, **claims: Any) -> str:
    """Sign an access token of a session; None takes a claim away."""
    payload = {"exp": int(time.time()) + 900, **CLAIMS, **SESSION_CLAIMS, **claims}
    payload = {name: value for name, value in payload.items() if value is not None}
    head = {"kid": SESSION_KEY.kid, "typ": "at+jwt", **(header or {})}
    if head["kid"] is None:
        del head["kid"]
    return jwt.encode(payload, key, "ES256", headers=head)


def es256_confused(secret: bytes, **header: Any) -> str:
    """HS256 with a public key as the secret, under the name of that key."""
    head = b64(json.dumps({"alg": "HS256", "typ": "at+jwt", "kid": SESSION_KEY.kid, **header}).encode())
    payload = b64(json.dumps({"exp": int(time.time()) + 900, **CLAIMS, **SESSION_CLAIMS}).encode())
    return f"{head}.{payload}.{b64(hmac.digest(secret, f'{head}.{payload}'.encode(), 'sha256'))}"


def public_keys() -> dict[str, bytes]:
    """The spellings of the public key that somebody may try as a secret."""
    public, spki = SESSION_KEY.public, serialization.PublicFormat.SubjectPublicKeyInfo
    point = serialization.PublicFormat.UncompressedPoint
    return {
        "PEM": public.public_bytes(serialization.Encoding.PEM, spki),
        "DER": public.public_bytes(serialization.Encoding.DER, spki),
        "point": public.public_bytes(serialization.Encoding.X962, point),
        "JWK": json.dumps(SESSION_KEY.jwk, separators=(",", ":")).encode(),
        "kid": SESSION_KEY.kid.encode(),
    }


def malleated() -> str:
    """The other signature of ES256 that fits: it is refused by nothing, and revoked with its session."""
    head, payload, signature = session_token().split(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    other = order - int.from_bytes(raw[32:])
    return f"{head}.{payload}.{b64(raw[:32] + other.to_bytes(32))}"


def tampered() -> str:
    header, payload, signature = token().split(".")
    changed = json.dumps({**json.loads(base64.urlsafe_b64decode(payload + "==")), "user_id": 8})
    return f"{header}.{b64(changed.encode())}.{signature}"


def rsa_signed() -> str:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return jwt.encode({**CLAIMS, "exp": int(time.time()) + 60}, private, "RS256", headers={"kid": KID})


def rsa_confused() -> str:
    """HS256 with a public key as the secret: works where the verifier lets the token choose what its key is."""
    public = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return token(key=pem.decode())


def hs512() -> str:
    header = {"alg": "HS512", "typ": "JWT", "kid": KID}
    signed = f"{b64(json.dumps(header).encode())}.{token().split('.')[1]}"
    return f"{signed}.{b64(hmac.digest(SECRET.encode(), signed.encode(), hashlib.sha512))}"


def unsigned(alg: str) -> str:
    header, payload, _ = token({"alg": alg, "typ": "JWT"}).split(".")
    return f"{header}.{payload}."


ATTACKS: dict[str, tuple[Callable[[], str], str]] = {
    "alg none": (lambda: unsigned("none"), "malformed"),
    "alg NONE": (lambda: unsigned("NONE"), "malformed"),
    "alg empty": (lambda: unsigned(""), "malformed"),
    "alg HS256 without a signature": (lambda: unsigned("HS256"), "bad_signature"),
    "no alg": (lambda: token({"typ": "JWT"}), "malformed"),
    "alg is no text": (lambda: token({"alg": ["HS256"]}), "malformed"),
    "RS256": (rsa_signed, "malformed"),
    "RS256 key as an HS256 secret": (rsa_confused, "bad_signature"),
    "HS512": (hs512, "malformed"),
    "wrong key": (lambda: token(key="x" * 32), "bad_signature"),
    "empty key": (lambda: token(key=""), "bad_signature"),
    "tampered": (tampered, "bad_signature"),
    "expired": (lambda: token(exp=int(time.time()) - 30), "expired"),
    "not yet valid": (lambda: token(nbf=int(time.time()) + 60), "not_yet_valid"),
    "issued in the future": (lambda: token(iat=int(time.time()) + 60), "not_yet_valid"),
    "no exp": (lambda: token(exp=None), "bad_claims"),
    "exp is no number": (lambda: token(exp="soon"), "malformed"),
    "exp is infinite": (lambda: token(raw=b'{"user_id":7,"username":"testuser123","exp":1e999}'), "malformed"),
    "exp is not a number": (lambda: token(raw=b'{"user_id":7,"username":"testuser123","exp":NaN}'), "malformed"),
    "exp of 5,000 digits": (
        lambda: token(raw=b'{"user_id":7,"username":"testuser123","exp":' + b"9" * 5000 + b"}"),
        "malformed",
    ),
    "wrong issuer": (lambda: token(iss="someone-else"), "bad_claims"),
    "issuer is no text": (lambda: token(iss=["video-platform"]), "bad_claims"),
    "an audience": (lambda: token(aud="someone-else"), "bad_claims"),
    "subject is no text": (lambda: token(sub=7), "bad_claims"),
    "kid of nobody": (lambda: token({"alg": "HS256", "kid": "00000000"}), "bad_signature"),
    "kid of the other secret": (lambda: token({"alg": "HS256", "kid": key_id(PREVIOUS)}), "bad_signature"),
    "kid is a path": (lambda: token({"alg": "HS256", "kid": "../../../../dev/null"}, key=""), "bad_signature"),
    "kid is null": (lambda: token({"alg": "HS256", "kid": None}), "malformed"),
    "kid is a number": (lambda: token({"alg": "HS256", "kid": 1}), "malformed"),
    "kid is a list": (lambda: token({"alg": "HS256", "kid": [KID]}), "malformed"),
    "kid is an object": (lambda: token({"alg": "HS256", "kid": {KID: KID}}), "malformed"),
    "a key in the header": (
        lambda: token({"alg": "HS256", "jwk": {"kty": "oct", "k": b64(b"x" * 32)}}, key="x" * 32),
        "bad_signature",
    ),
    "a critical extension": (lambda: token({"alg": "HS256", "crit": ["exp"], "exp": 0}), "malformed"),
    "a detached payload": (lambda: token({"alg": "HS256", "b64": False, "crit": ["b64"]}), "malformed"),
    "no user_id": (lambda: token(user_id=None), "bad_claims"),
    "user_id 0": (lambda: token(user_id=0), "bad_claims"),
    "user_id negative": (lambda: token(user_id=-1), "bad_claims"),
    "user_id true": (lambda: token(user_id=True), "bad_claims"),
    "user_id a text": (lambda: token(user_id="7"), "bad_claims"),
    "user_id a fraction": (lambda: token(user_id=7.5), "bad_claims"),
    "user_id a float": (lambda: token(user_id=7.0), "bad_claims"),
    "user_id too large": (lambda: token(user_id=2**63), "bad_claims"),
    "user_id a list": (lambda: token(user_id=[7]), "bad_claims"),
    "no username": (lambda: token(username=None), "bad_claims"),
    "username empty": (lambda: token(username=""), "bad_claims"),
    "username a number": (lambda: token(username=7), "bad_claims"),
    "username too long": (lambda: token(username="x" * 256), "bad_claims"),
    "username a lone surrogate": (lambda: token(username="\ud800"), "malformed"),
    "payload a list": (lambda: token(raw=b"[]"), "malformed"),
    "payload not JSON": (lambda: token(raw=b"{"), "malformed"),
    "payload nested deep": (lambda: token(raw=b"[" * 3000), "malformed"),
    "header not JSON": (lambda: token(b"{"), "malformed"),
    "header a list": (lambda: token(b"[]"), "malformed"),
    "header nested deep": (lambda: token(b'{"alg":' + b"[" * 3000), "malformed"),
    "one segment": (lambda: "x", "malformed"),
    "two segments": (lambda: "x.y", "malformed"),
    "four segments": (lambda: token() + ".x", "malformed"),
    "five segments": (lambda: "a.b.c.d.e", "malformed"),
    "dots": (lambda: "..", "malformed"),
    "not base64": (lambda: "!.!.!", "malformed"),
    "padded": (lambda: token() + "==", "malformed"),
    "8 KiB of junk": (lambda: "x" * 8192, "malformed"),
    "8 KiB of dots": (lambda: "." * 8192, "malformed"),
    "30 KiB of junk": (lambda: "x" * 30_000, "malformed"),
    "a valid one that is too long": (lambda: token(padding="x" * 8192), "malformed"),
    "outside ASCII": (lambda: token() + "é", "malformed"),
    "aud empty": (lambda: token(aud=""), "bad_claims"),
    "gen negative": (lambda: token(gen=-1), "bad_claims"),
    "gen a text": (lambda: token(gen="0"), "bad_claims"),
    "gen true": (lambda: token(gen=True), "bad_claims"),
    "gen too large": (lambda: token(gen=2**32), "bad_claims"),
    "gen null": (lambda: token(raw=b'{"user_id":7,"username":"abc","exp":9999999999,"gen":null}'), "bad_claims"),
    "typ of a session": (lambda: token({"alg": "HS256", "typ": "at+jwt"}), "bad_signature"),
    "typ of a session, kid of a login": (lambda: token({"alg": "HS256", "typ": "at+jwt", "kid": KID}), "bad_signature"),
    "session: typ of a login": (lambda: session_token({"typ": "JWT"}), "bad_signature"),
    "session: no typ": (lambda: session_token({"typ": None}), "bad_signature"),
    "session: kid of a login": (lambda: session_token({"kid": KID}), "bad_signature"),
    "session: no kid": (lambda: session_token({"kid": None}), "bad_signature"),
    "session: no sid": (lambda: session_token(sid=None), "bad_claims"),
    "session: sid is no hex": (lambda: session_token(sid="g" * 32), "bad_claims"),
    "session: sid too short": (lambda: session_token(sid="00"), "bad_claims"),
    "session: sid a number": (lambda: session_token(sid=1), "bad_claims"),
    "session: no aud": (lambda: session_token(aud=None), "bad_claims"),
    "session: aud of another": (lambda: session_token(aud="someone-else"), "bad_claims"),
    "session: several aud": (lambda: session_token(aud=["video-platform", "x"]), "bad_claims"),
    "session: no iss": (lambda: session_token(iss=None), "bad_claims"),
    "session: iss of another": (lambda: session_token(iss="someone-else"), "bad_claims"),
    "session: no gen": (lambda: session_token(gen=None), "bad_claims"),
    "session: expired": (lambda: session_token(exp=int(time.time()) - 30), "expired"),
    "session: key of another secret": (lambda: session_token(key=Keys("x" * 32).session_key.private), "bad_signature"),
    **{
        f"session: HS256 by the public key as {name}": (partial(es256_confused, secret), "malformed")
        for name, secret in public_keys().items()
    },
    **{
        f"HS256 by the public key as {name}": (partial(es256_confused, secret, typ="JWT"), "bad_signature")
        for name, secret in public_keys().items()
    },
    "session: 64 KiB": (lambda: session_token(padding="x" * 24_000), "malformed"),
}


def count(gateway: Process, series: str) -> float:
    (line,) = [line for line in admin(gateway, "/metrics").text.splitlines() if line.startswith(f"{series} ")]
    return float(line.rpartition(" ")[2])


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks(client: httpx.Client, gateway: Process, name: str) -> None:
    make, result = ATTACKS[name]
    series = f'token_verifications_total{{result="{result}"}}'
    before = count(gateway, series)
    answer = client.get("/api/profile", headers=[(b"Authorization", f"Bearer {make()}".encode("latin-1"))])
    assert (answer.status_code, answer.text) == (401, '{"code":401,"msg":"未授权: 无效的 Token"}')
    assert answer.headers["www-authenticate"] == "Bearer"
    assert count(gateway, series) == before + 1


@pytest.mark.parametrize(
    "make",
    [
        token,
        lambda: token({"alg": "HS256", "typ": "JWT", "kid": KID}),
        lambda: token({"kid": KID, "alg": "HS256"}),
        lambda: token(key=PREVIOUS),
        lambda: token({"alg": "HS256", "typ": "JWT", "kid": key_id(PREVIOUS)}, key=PREVIOUS),
        lambda: token(iss="video-platform", iat=int(time.time()), nbf=int(time.time()), sub="7"),
        lambda: token(exp=int(time.time()) - 25),
        lambda: token(nbf=int(time.time()) + 25, iat=int(time.time()) + 25),
        lambda: token(exp=time.time() + 3600.5),
        lambda: token(exp=str(int(time.time()) + 3600)),
        lambda: token(exp=10**400),
        lambda: token(gen=3),
        session_token,
        malleated,
        # What golang-jwt makes of jwt.MapClaims{"user_id": uint, "username": string, "exp": time.Now().Add(...).Unix()}
        lambda: token(
            b'{"alg":"HS256","typ":"JWT"}',
            raw=b'{"exp":%d,"user_id":7,"username":"testuser123"}' % (time.time() + 86400),
        ),
    ],
)
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER ", "Bearer   "])
def test_honest_tokens(client: httpx.Client, make: Callable[[], str], scheme: str) -> None:
    answer = client.get("/api/profile", headers={"Authorization": f"{scheme} {make()}"})
    assert (answer.status_code, answer.json()["data"]) == (200, CLAIMS)


@pytest.mark.parametrize(
    ("make", "kind"),
    [(token, "legacy"), (lambda: token(gen=0), "login"), (session_token, "session")],
    ids=["legacy", "login", "session"],
)
def test_accepted_tokens_are_counted_by_kind(
    client: httpx.Client, gateway: Process, make: Callable[[], str], kind: str
) -> None:
    kinds = [f'tokens_accepted_total{{kind="{each}"}}' for each in ("legacy", "login", "session")]
    before = [count(gateway, each) for each in kinds]
    assert client.get("/api/profile", headers={"Authorization": f"Bearer {make()}"}).status_code == 200
    counted = [count(gateway, each) - earlier for each, earlier in zip(kinds, before, strict=True)]
    assert dict(zip(kinds, counted, strict=True)) == {each: float(kind in each) for each in kinds}


ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def respellings(part: str) -> list[str]:
    """Other spellings of the same bytes, as decoders take them."""
    last = ALPHABET.index(part[-1])
    unused = {2: 16, 3: 4}.get(len(part) % 4, 1)
    others = [part[:-1] + ALPHABET[last - last % unused + each] for each in range(unused) if last % unused != each]
    return [*others, part + "=" * (-len(part) % 4 or 4), part + "!", part + "\n", part[:3] + " " + part[3:]]


@pytest.mark.parametrize("index", range(3))
def test_respelled_token_is_malformed(index: int) -> None:
    parts = made_of(SECRET).issue(1, "abc", 0).split(".")
    spelled = respellings(parts[index])
    assert len(spelled) >= 4
    for each in spelled:
        tokens = made_of(SECRET)
        with pytest.raises(InvalidTokenError):
            tokens.verify(".".join([*parts[:index], each, *parts[index + 1 :]]))


def test_each_last_character_has_one_spelling() -> None:
    tokens = made_of(SECRET)
    issued: dict[str, str] = {}
    while len(issued) < 16:  # the last character of a signature has four of its bits
        each = tokens.issue(1, "abc", 0)
        issued[each[-1]] = each
    for last, each in issued.items():
        for other in set(ALPHABET) - {last}:
            with pytest.raises(InvalidTokenError):
                tokens.verify(each[:-1] + other)


def of_length(length: int) -> str:
    """Return a valid token of `length` characters."""
    made = (
        token({"alg": "HS256", "x": "x" * extra}, padding="x" * most) for most in range(5900, 6100) for extra in (0, 1)
    )
    return next(each for each in made if len(each) == length)


def test_the_longest_token_has_8192_characters() -> None:
    tokens = made_of(SECRET)
    assert tokens.verify(of_length(8192)).user_id == 7
    with pytest.raises(InvalidTokenError):
        tokens.verify(of_length(8193))


def test_remembered_token_still_expires() -> None:
    tokens = made_of(SECRET)
    short = token(exp=int(time.time()) - LEEWAY + 2)
    assert tokens.verify(short)[:2] == tokens.verify(short)[:2] == (7, "testuser123")

    def is_refused() -> bool:
        try:
            tokens.verify(short)
        except InvalidTokenError:
            return True
        return False

    wait_until(is_refused, 5, what="the token to expire")
    assert is_refused()


def test_remembered_tokens_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway_svc.tokens.verified.MAX_VERIFIED", 1000)

    class Contents:
        pass

    remembered, alive = VerifiedTokens[Contents](), weakref.WeakSet[Contents]()
    for number in range(3000):
        contents = Contents()
        alive.add(contents)
        remembered.put(number.to_bytes(32), contents)
        del contents
        assert min(number + 1, 500) <= len(alive) <= 1000


def test_tokens_outlive_being_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway_svc.tokens.verified.MAX_VERIFIED", 4)
    tokens = made_of(SECRET)
    issued = [tokens.issue(number, "abc", 0) for number in range(1, 6)]
    for _ in range(2):
        assert [tokens.verify(each).user_id for each in issued] == [1, 2, 3, 4, 5]


def test_tokens_in_use_stay_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway_svc.tokens.verified.MAX_VERIFIED", 4)
    remembered = VerifiedTokens[int]()
    for number in (1, 2, 3):
        remembered.put(bytes([number]), number)
    assert remembered.get(bytes([1])) == 1
    remembered.put(bytes([4]), 4)
    assert [remembered.get(bytes([number])) for number in (1, 2, 3, 4)] == [1, None, 3, 4]


def test_key_change_clears_verified_tokens() -> None:
    tokens = made_of(SECRET)
    issued = [tokens.issue(1, "abc", 0), tokens.issue_for_session(1, "abc", 0, bytes(16))]
    for each in issued:
        assert tokens.verify(each).user_id == 1
    tokens.use(Keys("x" * 32, [SECRET]))
    for each in issued:
        assert tokens.verify(each).user_id == 1
    tokens.use(Keys("x" * 32))
    for each in issued:
        with pytest.raises(InvalidTokenError):
            tokens.verify(each)


@pytest.mark.parametrize(
    ("secret", "login", "session", "refresh", "device"),
    [
        (
            "0123456789abcdef0123456789abcdef",
            "52c54f29",
            "rPa9LhQoZAGxN8TH2dTHRg33NI3xz21laSno_2YbXXs",
            "f7f8068a",
            "181b4ced",
        ),
        (
            "a fixed secret of 32 bytes, no. 5",
            "337d0e2c",
            "AqX8ENA709jeyPKBOcJvrbKQS3mzpZtcUi4ORJYTzmw",
            "fcc92caa",
            "a5b8cc50",
        ),
    ],
    ids=["an even private key", "an odd one"],
)
def test_replicas_derive_the_same_keys(secret: str, login: str, session: str, refresh: str, device: str) -> None:
    # The names are part of what clients keep: a release that derives others refuses the tokens of the one before.
    keys = Keys(secret)
    assert next(iter(keys.secrets)) == login
    assert keys.session_key.kid == session
    assert next(iter(keys.refresh_keys)).hex() == refresh
    assert next(iter(keys.device_keys)).hex() == device


def test_refused_token_is_not_remembered() -> None:
    tokens = made_of(SECRET)
    forged = token(key="x" * 32)
    for _ in range(2):
        with pytest.raises(InvalidTokenError):
            tokens.verify(forged)


def test_a_name_of_the_old_system_passes_unescaped(client: httpx.Client) -> None:
    old = token(username='用户 "x"')
    answer = client.get("/api/profile", headers={"Authorization": f"Bearer {old}"})
    assert '"username":"用户 \\"x\\""' in answer.text


def test_a_rotation() -> None:
    old, new = "old-" * 8, "new-" * 8
    before = made_of(old)
    during = made_of(new, old)
    after = made_of(new)
    first = before.issue(1, "abc", 0)
    assert during.verify(first).username == "abc"
    with pytest.raises(InvalidTokenError):
        after.verify(first)
    second = during.issue(1, "abc", 0)
    assert after.verify(second).username == "abc"
    with pytest.raises(InvalidTokenError):
        before.verify(second)


def test_the_current_key_signs_session_tokens() -> None:
    old, new = "old-" * 8, "new-" * 8
    issued = made_of(new, old).issue_for_session(1, "abc", 0, bytes(16))
    assert made_of(new).verify(issued).username == "abc"
    with pytest.raises(InvalidTokenError):
        made_of(old).verify(issued)


@pytest.mark.parametrize("generation", [0, 3, 2**32 - 1, None])
def test_a_token_keeps_its_generation(generation: int | None) -> None:
    tokens = made_of(SECRET)
    assert tokens.verify(tokens.issue(2**63 - 1, "abc", generation)).generation == generation


def test_identity_has_the_times_of_its_token() -> None:
    tokens, issued = made_of(SECRET), int(time.time()) - 60
    expires = issued + 24 * 60 * 60
    for each in (token(exp=expires), token(exp=expires, iat=issued)):
        assert (tokens.verify(each).issued, tokens.verify(each).expires) == (issued, expires + 30)


def test_a_name_may_have_255_characters() -> None:
    assert made_of(SECRET).verify(token(username="x" * 255)).username == "x" * 255


def test_a_session_id_has_sixteen_bytes() -> None:
    tokens = made_of(SECRET)
    assert tokens.verify(tokens.issue_for_session(1, "abc", 0, bytes(16))).revocation_id == bytes(16)
    for length in (15, 17):
        with pytest.raises(InvalidTokenError):
            tokens.verify(tokens.issue_for_session(1, "abc", 0, bytes(length)))


def test_a_login_is_revoked_by_its_signing_input() -> None:
    # Revocations outlive the release that made them: their ids stay as they are.
    each = token()
    signed, _, _ = each.rpartition(".")
    assert made_of(SECRET).verify(each).revocation_id == hashlib.sha256(signed.encode()).digest()[:16]


def test_another_issuer_with_the_same_secret() -> None:
    assert made_of(SECRET).verify(made_of(SECRET).issue(1, "abc", 0))
    with pytest.raises(InvalidTokenError):
        made_of(SECRET).verify(made_of(SECRET, issuer="them").issue(1, "abc", 0))


def test_each_token_is_unique() -> None:
    tokens = made_of(SECRET)
    assert len({tokens.issue(1, "abc", 0) for _ in range(100)}) == 100


def test_a_short_previous_secret_is_not_complained_about(start_gateway: StartGateway, users: UsersStub) -> None:
    gateway = start_gateway(JWT_PREVIOUS_SECRETS=f" , x , {PREVIOUS} ,", USER_SERVICE_TARGET=users.target)
    headers = {"Authorization": f"Bearer {token(key=PREVIOUS)}"}
    assert httpx.get(f"http://127.0.0.1:{gateway.port}/api/profile", headers=headers).status_code == 200
    assert "Warning" not in gateway.output
    assert PREVIOUS not in gateway.output
