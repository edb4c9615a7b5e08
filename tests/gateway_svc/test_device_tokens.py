"""Device tokens: what a user service is told of them, and that a bad one counts as none."""

import base64
import hmac
import time

import pytest

from gateway_svc.tokens import DeviceTokens, Keys, RefreshTokens
from gateway_svc.tokens.keys import MacKey
from tests.gateway_svc.conftest import PREVIOUS, SECRET, Account, admin
from tests.support.process import Process
from tests.support.users_stub import UsersStub

TOKENS = DeviceTokens(Keys(SECRET, [PREVIOUS]))
DAY = 86_400


def raw_of(token: str) -> bytes:
    return base64.urlsafe_b64decode(token.removeprefix("vpd_"))


def token_of(raw: bytes) -> str:
    return "vpd_" + base64.urlsafe_b64encode(raw).decode()


def test_a_token_says_whose_device_it_is() -> None:
    for user_id, generation in [(1, 0), (2**63 - 1, 2**32 - 1)]:
        token = TOKENS.issue(user_id, generation)
        assert len(token) == 84
        device = TOKENS.check(token)
        assert device is not None
        assert (device.user_id, device.generation, len(device.nonce)) == (user_id, generation, 16)
    assert TOKENS.check(TOKENS.issue(1, 0)) != TOKENS.check(TOKENS.issue(1, 0))


def test_any_change_makes_it_none() -> None:
    token = TOKENS.issue(1, 1)
    raw = raw_of(token)
    for bit in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        assert TOKENS.check(token_of(bytes(changed))) is None, bit
    for place in range(len(token)):
        assert TOKENS.check(token[:place] + "!" + token[place + 1 :]) is None
    for other in (None, "", token[:-1], token + "A", token + "\n", f"vpr_{token[4:]}"):
        assert TOKENS.check(other) is None


def test_only_the_key_of_its_label_counts() -> None:
    assert TOKENS.check(DeviceTokens(Keys("x" * 32)).issue(1, 1)) is None
    refresh = MacKey(SECRET, "refresh v1")
    sealed = refresh.kid + raw_of(TOKENS.issue(1, 1))[4:-24]
    assert TOKENS.check(token_of(sealed + hmac.digest(refresh.key, sealed, "sha256")[:24])) is None
    device = MacKey(SECRET, "device v1")
    sealed = device.kid + sealed[4:]
    assert TOKENS.check(token_of(sealed + hmac.digest(device.key, sealed, "sha256")[:24])) is not None


def test_it_counts_for_180_days(monkeypatch: pytest.MonkeyPatch) -> None:
    issued = int(time.time())
    token = TOKENS.issue(1, 1)
    monkeypatch.setattr(time, "time", lambda: issued + 180 * DAY)
    assert TOKENS.check(token) is not None
    monkeypatch.setattr(time, "time", lambda: issued + 181 * DAY)
    assert TOKENS.check(token) is None
    monkeypatch.setattr(time, "time", lambda: issued - DAY)  # a replica whose clock is behind
    assert TOKENS.check(token) is not None


def test_a_previous_secret_counts_and_never_signs() -> None:
    old, new = "old-" * 8, "new-" * 8
    before, during, after = DeviceTokens(Keys(old)), DeviceTokens(Keys(new, [old])), DeviceTokens(Keys(new))
    assert during.check(before.issue(1, 1)) is not None
    assert after.check(during.issue(1, 1)) is not None
    assert after.check(before.issue(1, 1)) is None


def test_a_login_with_one_tells_the_user_service(account: Account, users: UsersStub) -> None:
    users.generations[account.open()["user_id"]] = 3
    opened = account.open()
    assert users.devices[-1] is None
    again = account.open(device_token=opened["device_token"])
    device = users.devices[-1]
    assert device is not None
    assert (device.user_id, device.generation, len(device.id)) == (opened["user_id"], 3, 16)
    assert again["device_token"] != opened["device_token"]


def test_a_bad_one_counts_as_none(account: Account, users: UsersStub) -> None:
    opened = account.open()
    forged = opened["device_token"][:-4] + "AAAA"
    refresh = RefreshTokens(Keys(SECRET)).issue(bytes(16), 1)
    for bad in ("", "x", forged, opened["refresh_token"], opened["token"], refresh, "vpd_" + "A" * 1020):
        account.open(device_token=bad)
        assert users.devices[-1] is None
    answer = account.client.post("/api/sessions", json={**account.credentials, "device_token": "x" * 1025})
    assert (answer.status_code, answer.json()["msg"]) == (400, "参数错误: device_token: 至多 1024 个字符")


def test_it_is_shown_nowhere(account: Account, gateway: Process) -> None:
    token = account.open()["device_token"]
    body = {**account.credentials, "password": "wrongpassword", "device_token": token}
    answers = [
        account.client.post("/api/sessions", json=body),
        account.client.post("/api/sessions", json={**body, token: 1}),
        account.client.post("/api/sessions", json={**body, "device_token": [token]}),
    ]
    assert [answer.status_code for answer in answers] == [401, 400, 400]
    shown = gateway.output + admin(gateway, "/metrics").text + "".join(answer.text for answer in answers)
    assert token not in shown
    assert token[-40:] not in shown
