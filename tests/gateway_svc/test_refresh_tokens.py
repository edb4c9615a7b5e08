"""Refresh tokens under attack: none that the gateway did not make costs a call."""

import base64
import hmac
from contextlib import nullcontext

import httpx
import pytest

from gateway_svc.tokens import InvalidRefreshTokenError, Keys, RefreshTokens
from gateway_svc.tokens.sealed import Seal
from tests.gateway_svc.conftest import PREVIOUS, SECRET, admin
from tests.support.process import Process
from tests.support.users_stub import UsersStub

SESSION = bytes(range(16))
TOKENS = RefreshTokens(Keys(SECRET, [PREVIOUS]))
RESULTS = ("ok", "malformed", "unknown_key", "bad_mac")


def content(token: str) -> bytes:
    return base64.urlsafe_b64decode(token.removeprefix("vpr_"))


def token_of(raw: bytes) -> str:
    return "vpr_" + base64.urlsafe_b64encode(raw).decode()


def is_refused(token: str) -> bool:
    try:
        TOKENS.check(token)
    except InvalidRefreshTokenError:
        return True
    return False


def counts(gateway: Process) -> dict[str, float]:
    lines = admin(gateway, "/metrics").text.splitlines()
    prefix = "refresh_tokens_checked_total"
    return {
        result: next(float(line.split()[1]) for line in lines if line.startswith(f'{prefix}{{result="{result}"}}'))
        for result in RESULTS
    }


def test_a_token_says_its_session_and_serial() -> None:
    for serial in (0, 1, 2**32 - 1):
        token = TOKENS.issue(SESSION, serial)
        assert len(token) == 68
        assert TOKENS.check(token) == (SESSION, serial)


def test_a_flipped_bit_anywhere_is_refused() -> None:
    raw = content(TOKENS.issue(SESSION, 1))
    for bit in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        assert is_refused(token_of(bytes(changed))), bit


def test_a_changed_character_anywhere_is_refused() -> None:
    token = TOKENS.issue(SESSION, 1)
    for place in range(len(token)):
        for character in "!+/=. \n\0é":
            assert is_refused(token[:place] + character + token[place + 1 :])
            assert is_refused(token[:place] + character + token[place:])
    assert is_refused(token[:-1])
    assert is_refused(token + "\n")
    assert is_refused(token.swapcase())


def test_tokens_of_other_keys_are_refused() -> None:
    assert is_refused(RefreshTokens(Keys("x" * 32)).issue(SESSION, 1))
    raw = content(TOKENS.issue(SESSION, 1))[:24]
    assert is_refused(token_of(raw + hmac.digest(SECRET.encode(), raw, "sha256")[:24]))


def test_a_previous_secret_checks_and_never_signs() -> None:
    old, new = "old-" * 8, "new-" * 8
    before, during, after = RefreshTokens(Keys(old)), RefreshTokens(Keys(new, [old])), RefreshTokens(Keys(new))
    assert during.check(before.issue(SESSION, 7)) == (SESSION, 7)
    assert after.check(during.issue(SESSION, 7)) == (SESSION, 7)
    with pytest.raises(InvalidRefreshTokenError):
        after.check(before.issue(SESSION, 7))


@pytest.mark.parametrize("content_bytes", range(1, 13))
def test_only_sizes_with_one_spelling_are_taken(content_bytes: int) -> None:
    spelled = base64.urlsafe_b64encode(bytes(4 + content_bytes + 24)).decode()
    with pytest.raises(ValueError, match="padding") if "=" in spelled else nullcontext():
        Seal("vpx_", content_bytes, {})


def test_a_short_secret_makes_no_keys() -> None:
    keys = Keys(SECRET, ["short", "x" * 31])
    assert (len(keys.secrets), len(keys.refresh_keys), len(keys.session_keys)) == (3, 1, 1)
    with pytest.raises(ValueError, match="32 bytes"):
        Keys("x" * 31)


@pytest.mark.parametrize("path", ["/api/sessions/refresh", "/api/sessions/end"])
def test_a_forged_token_costs_no_call(client: httpx.Client, gateway: Process, users: UsersStub, path: str) -> None:
    good = TOKENS.issue(SESSION, 1)
    raw = content(good)
    forged = {
        "bad_mac": [
            token_of(raw[:-1] + bytes([raw[-1] ^ 1])),
            token_of(raw[:20] + bytes(4) + raw[24:]),
            token_of(raw[:20] + b"\xff" * 4 + raw[24:]),
        ],
        "unknown_key": [RefreshTokens(Keys("x" * 32)).issue(SESSION, 1)],
        "malformed": [good[:-1], good + "A", good.replace("vpr_", "vpd_"), "x" * 1024, " " + good, "é" * 68],
    }
    calls, before = len(users.calls), counts(gateway)
    for tokens in forged.values():
        for token in tokens:
            answer = client.post(path, json={"refresh_token": token})
            assert (answer.status_code, answer.json()) == (401, {"code": 401, "msg": "无效的刷新凭证"})
            assert answer.headers["www-authenticate"] == "Bearer"
    assert len(users.calls) == calls
    assert {result: count - before[result] for result, count in counts(gateway).items()} == {
        "ok": 0,
        **{result: len(tokens) for result, tokens in forged.items()},
    }


@pytest.mark.parametrize(("length", "status"), [(1025, 400), (64 * 1024 - 30, 400), (64 * 1024, 413)])
def test_oversized_tokens_cost_no_call(client: httpx.Client, users: UsersStub, length: int, status: int) -> None:
    calls = len(users.calls)
    answer = client.post("/api/sessions/refresh", json={"refresh_token": "x" * length})
    assert answer.status_code == status
    assert len(users.calls) == calls


@pytest.mark.parametrize("serial", [0, 2**32 - 1])
def test_unknown_serials_are_refused(client: httpx.Client, serial: int) -> None:
    answer = client.post("/api/sessions/refresh", json={"refresh_token": TOKENS.issue(SESSION, serial)})
    assert (answer.status_code, answer.json()["msg"]) == (401, "无效的刷新凭证")
