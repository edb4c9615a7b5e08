"""Sessions over HTTP, in front of a user service that answers at once."""

import secrets
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import grpc
import httpx
import jwt
import pytest

from protos.user.v1 import user_pb2
from tests.gateway_svc.conftest import SECRET, StartGateway, admin
from tests.support.process import Process
from tests.support.users_stub import UsersStub
from tests.support.wait import wait_until

Refused = user_pb2.RefreshSessionResponse.Refusal
INVALID = (401, {"code": 401, "msg": "未授权: 无效的 Token"})


class Account:
    """A user of a test's own."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.credentials = {"username": f"u_{secrets.token_hex(6)}", "password": "password123"}
        assert client.post("/api/register", json=self.credentials).status_code == 200

    def login(self) -> str:
        return str(self.client.post("/api/login", json=self.credentials).json()["token"])

    def open(self, **fields: str) -> dict[str, Any]:
        answer = self.client.post("/api/sessions", json={**self.credentials, **fields})
        assert answer.status_code == 200, answer.text
        opened: dict[str, Any] = answer.json()
        return opened

    def refresh(self, token: str) -> tuple[int, dict[str, Any]]:
        answer = self.client.post("/api/sessions/refresh", json={"refresh_token": token})
        return answer.status_code, answer.json()

    def ask(self, method: str, path: str, token: str) -> tuple[int, dict[str, Any]]:
        answer = self.client.request(method, path, headers={"Authorization": f"Bearer {token}"})
        return answer.status_code, answer.json()

    def profile(self, token: str) -> tuple[int, dict[str, Any]]:
        return self.ask("GET", "/api/profile", token)


@pytest.fixture
def account(client: httpx.Client) -> Account:
    return Account(client)


@pytest.fixture
def other(users: UsersStub, start_gateway: StartGateway) -> Iterator[httpx.Client]:
    """A second gateway with the same keys."""
    gateway = start_gateway(USER_SERVICE_TARGET=users.target)
    with httpx.Client(base_url=f"http://127.0.0.1:{gateway.port}", timeout=20) as http:
        yield http


def is_refused(account: Account, token: str) -> bool:
    return account.profile(token) == INVALID


def test_a_session_is_opened_refreshed_and_ended(account: Account) -> None:
    opened = account.open(device="Firefox")
    assert list(opened) == [
        "code",
        "msg",
        "user_id",
        "session_id",
        "token",
        "expires_in",
        "refresh_token",
        "refresh_expires_in",
        "device_token",
    ]
    assert (opened["msg"], opened["expires_in"], opened["refresh_expires_in"]) == ("登录成功", 900, 1209600)
    assert account.profile(opened["token"])[1]["data"]["user_id"] == opened["user_id"]

    status, refreshed = account.refresh(opened["refresh_token"])
    assert (status, refreshed["msg"]) == (200, "刷新成功")
    assert refreshed.keys() == opened.keys() - {"device_token"}
    assert refreshed["session_id"] == opened["session_id"]
    assert refreshed["refresh_token"] != opened["refresh_token"]
    assert account.profile(refreshed["token"])[0] == 200

    assert account.ask("POST", "/api/logout", refreshed["token"]) == (200, {"code": 200, "msg": "退出成功"})
    assert account.profile(refreshed["token"]) == account.profile(opened["token"]) == INVALID
    assert account.refresh(refreshed["refresh_token"]) == (401, {"code": 401, "msg": "已退出登录"})


def test_session_access_token_names_its_user(account: Account, client: httpx.Client) -> None:
    opened = account.open()
    (key,) = client.get("/.well-known/jwks.json").json()["keys"]
    header = jwt.get_unverified_header(opened["token"])
    assert header == {"alg": "ES256", "kid": key["kid"], "typ": "at+jwt"}
    claims = jwt.decode(opened["token"], jwt.PyJWK(key), ["ES256"], audience="video-platform", issuer="video-platform")
    assert claims.pop("exp") - claims.pop("iat") == 900
    assert len(claims.pop("jti")) == 32
    assert claims == {
        "user_id": opened["user_id"],
        "username": account.credentials["username"],
        "sub": str(opened["user_id"]),
        "iss": "video-platform",
        "aud": "video-platform",
        "sid": opened["session_id"],
        "gen": 0,
    }


def test_sessions_are_listed(account: Account, client: httpx.Client) -> None:
    here, there = account.open(device="手机"), account.open()
    Account(client).open()
    status, answer = account.ask("GET", "/api/sessions", here["token"])
    assert (status, answer["msg"]) == (200, "获取会话列表成功")
    assert answer["data"] == [
        {
            "session_id": here["session_id"],
            "device": "手机",
            "created_at": "2026-01-01T00:00:00Z",
            "used_at": "2026-01-01T00:00:01Z",
            "expires_at": "2026-01-15T00:00:00Z",
            "current": True,
        },
        {**answer["data"][1], "session_id": there["session_id"], "device": "", "current": False},
    ]
    listed = account.ask("GET", "/api/sessions", account.login())[1]["data"]
    assert [each["current"] for each in listed] == [False, False]


def test_one_session_is_ended_by_another(account: Account) -> None:
    here, there = account.open(), account.open()
    path = f"/api/sessions/{there['session_id']}"
    for _ in range(2):
        assert account.ask("DELETE", path, here["token"]) == (200, {"code": 200, "msg": "会话已退出"})
    assert account.profile(there["token"]) == INVALID
    assert account.profile(here["token"])[0] == 200


def test_a_session_of_another_user_is_not_found(account: Account, client: httpx.Client) -> None:
    victim, thief = account.open(), Account(client)
    for session_id in (victim["session_id"], secrets.token_hex(16)):
        answer = thief.ask("DELETE", f"/api/sessions/{session_id}", thief.open()["token"])
        assert answer == (404, {"code": 404, "msg": "会话不存在"})
    assert account.profile(victim["token"])[0] == 200
    assert account.refresh(victim["refresh_token"])[0] == 200


@pytest.mark.parametrize("session_id", ["0" * 31, "0" * 33, "A" * 32, "g" * 32, "%2e%2e"])
def test_a_malformed_session_id_is_refused(account: Account, session_id: str) -> None:
    status, answer = account.ask("DELETE", f"/api/sessions/{session_id}", account.login())
    assert (status, answer["msg"].partition(": ")[2].partition(":")[0]) == (400, "session_id")


def test_a_session_ends_by_its_refresh_token(account: Account) -> None:
    opened = account.open()
    for _ in range(2):
        answer = account.client.post("/api/sessions/end", json={"refresh_token": opened["refresh_token"]})
        assert (answer.status_code, answer.json()) == (200, {"code": 200, "msg": "退出成功"})
    assert account.profile(opened["token"]) == INVALID


def test_logout_ends_only_its_own_login_token(account: Account) -> None:
    gone, kept, session = account.login(), account.login(), account.open()
    assert account.ask("POST", "/api/logout", gone)[0] == 200
    assert account.profile(gone) == account.ask("POST", "/api/logout", gone) == INVALID
    for respelled in (gone[:-1] + ("A" if gone[-1] != "A" else "B"), gone + "!", gone + "="):
        assert account.profile(respelled)[0] == 401
    assert account.profile(kept)[0] == account.profile(session["token"])[0] == 200


def test_logout_everywhere_ends_all_that_was_issued(account: Account) -> None:
    legacy_claims = {"user_id": account.open()["user_id"], "username": "abc", "exp": int(time.time()) + 86400}
    tokens = [account.login(), account.open()["token"], jwt.encode(legacy_claims, SECRET, "HS256")]
    assert {account.profile(token)[0] for token in tokens} == {200}
    answer = account.ask("POST", "/api/logout/all", tokens[0])
    assert answer == (200, {"code": 200, "msg": "已退出所有设备"})
    assert {account.profile(token)[0] for token in tokens} == {401}
    assert account.profile(account.login())[0] == account.profile(account.open()["token"])[0] == 200


def test_another_gateway_learns_of_each_end(account: Account, other: httpx.Client) -> None:
    elsewhere = Account(other)
    login, session, listed = account.login(), account.open(), account.open()
    victims = [login, session["token"], listed["token"]]
    assert {elsewhere.profile(token)[0] for token in victims} == {200}
    account.ask("DELETE", f"/api/sessions/{listed['session_id']}", session["token"])
    account.ask("POST", "/api/logout", session["token"])
    account.ask("POST", "/api/logout", login)
    for token in victims:
        wait_until(partial(is_refused, elsewhere, token), 5, what="the end to be known")

    last = account.login()
    assert elsewhere.profile(last)[0] == 200
    account.ask("POST", "/api/logout/all", last)
    wait_until(lambda: elsewhere.profile(last)[0] == 401, 5, what="the end of all to be known")
    assert elsewhere.profile(account.login())[0] == 200


@pytest.mark.parametrize(
    ("refusal", "msg"),
    [
        (Refused.UNKNOWN, "无效的刷新凭证"),
        (Refused.EXPIRED, "登录已过期，请重新登录"),
        (Refused.ENDED, "已退出登录"),
        (Refused.PASSWORD_CHANGED, "密码已修改，请重新登录"),
        (Refused.REUSED, "登录凭证被重复使用，请重新登录"),
        (Refused.DISABLED, "账号已停用"),
        (99, "无效的刷新凭证"),
    ],
)
def test_each_refusal_of_a_refresh_says_why(account: Account, users: UsersStub, refusal: Any, msg: str) -> None:
    opened = account.open()
    users.sessions[bytes.fromhex(opened["session_id"])].refusal = refusal
    assert account.refresh(opened["refresh_token"]) == (401, {"code": 401, "msg": msg})


def test_a_wrong_password_opens_no_session(account: Account, users: UsersStub) -> None:
    count = len(users.sessions)
    body = {**account.credentials, "password": "wrongpassword"}
    answer = account.client.post("/api/sessions", json=body)
    assert (answer.status_code, answer.json()) == (401, {"code": 401, "msg": "密码错误"})
    assert answer.headers["www-authenticate"] == "Bearer"
    assert len(users.sessions) == count


def test_only_sessions_reveal_disabled_accounts(account: Account, users: UsersStub) -> None:
    users.disabled.add(account.credentials["username"])
    answer = account.client.post("/api/sessions", json=account.credentials)
    assert (answer.status_code, answer.json()) == (403, {"code": 403, "msg": "账号已停用"})
    answer = account.client.post("/api/login", json=account.credentials)
    assert (answer.status_code, answer.text) == (401, '{"code":401,"msg":"密码错误","token":"","user_id":0}')


def test_an_older_user_service_answers_what_it_can(account: Account, users: UsersStub) -> None:
    opened = account.open()
    users.is_outdated = True
    calls = len(users.calls)
    answers = [
        account.client.post("/api/sessions", json=account.credentials),
        account.client.post("/api/sessions/refresh", json={"refresh_token": opened["refresh_token"]}),
        account.client.post("/api/logout", headers={"Authorization": f"Bearer {opened['token']}"}),
        account.client.get("/api/sessions", headers={"Authorization": f"Bearer {opened['token']}"}),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json()["msg"]) == (503, "服务暂时不可用，请稍后重试")
        assert answer.headers["retry-after"] == "5"
    assert users.calls[calls:].count("RefreshSession") == 4
    token = account.login()
    assert "gen" not in jwt.decode(token, SECRET, ["HS256"])
    assert account.profile(token)[0] == 200


def test_a_refresh_is_tried_again_elsewhere(start_gateway: StartGateway) -> None:
    def unavailable(method: str, context: grpc.ServicerContext) -> None:
        if method == "RefreshSession" and stub.calls.count(method) % 2:
            context.abort(grpc.StatusCode.UNAVAILABLE, "")

    with UsersStub(before=unavailable) as stub:
        gateway = start_gateway(USER_SERVICE_TARGET=stub.target)
        with httpx.Client(base_url=f"http://127.0.0.1:{gateway.port}") as client:
            account = Account(client)
            assert account.refresh(account.open()["refresh_token"])[0] == 200
            assert 5 < stub.time_remaining[-1] < 6.1


def test_the_public_keys_may_be_cached(client: httpx.Client) -> None:
    answer = client.get("/.well-known/jwks.json")
    assert answer.headers.get_list("cache-control") == ["public, max-age=300"]
    assert client.get("/ping").headers.get_list("cache-control") == ["no-store"]
    (key,) = answer.json()["keys"]
    assert set(key) == {"kty", "crv", "x", "y", "use", "alg", "kid"}


def test_no_token_is_shown_anywhere(account: Account, gateway: Process) -> None:
    opened = account.open()
    _, refreshed = account.refresh(opened["refresh_token"])
    forged = refreshed["refresh_token"][:-4] + "AAAA"
    headers = {"Accept": "application/problem+json"}
    bad = [
        account.client.post("/api/sessions/refresh", json={"refresh_token": forged}, headers=headers),
        account.client.post("/api/sessions/refresh", json={"refresh_token": [forged]}, headers=headers),
        account.client.post("/api/sessions/end", json={"refresh_token": forged, forged: 1}, headers=headers),
        account.client.post("/api/sessions/refresh", json={"refresh_token": opened["refresh_token"]}, headers=headers),
        account.client.get("/api/profile", headers={**headers, "Authorization": f"Bearer {opened['token']}x"}),
    ]
    assert {answer.headers["content-type"] for answer in bad} == {"application/problem+json"}
    account.ask("POST", "/api/logout", refreshed["token"])
    shown = gateway.output + admin(gateway, "/metrics").text + "".join(answer.text for answer in bad)
    tokens = [*(each[name] for each in (opened, refreshed) for name in ("token", "refresh_token")), forged]
    tokens.append(opened["device_token"])
    for token in tokens:
        assert token not in shown
        assert token.rpartition(".")[2][-40:] not in shown
