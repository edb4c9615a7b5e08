"""Password change, deletion and throttling over HTTP, in front of a user service that answers at once."""

import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
import httpx
import jwt
import pytest

from gateway_svc.users_client import PASSWORD_CHANGE_DEADLINE
from protos.user.v1.contract import REFUSAL, RETRY_AFTER, THROTTLED
from tests.gateway_svc.conftest import SECRET, Account, admin
from tests.gateway_svc.test_sessions import INVALID, is_refused
from tests.support.process import Process
from tests.support.users_stub import UsersStub
from tests.support.wait import wait_until

NEW = "correct horse"
THROTTLED_ANSWER = (429, {"code": 429, "msg": "尝试次数过多，请稍后重试"})


def ask(account: Account, method: str, path: str, token: str, **body: str) -> httpx.Response:
    return account.client.request(method, path, json=body, headers={"Authorization": f"Bearer {token}"})


def change(account: Account, token: str, current: str = "password123", new: str = NEW, **more: str) -> httpx.Response:
    return ask(account, "PUT", "/api/password", token, current_password=current, new_password=new, **more)


def delete(account: Account, token: str, password: str = "password123", **more: str) -> httpx.Response:
    return ask(account, "POST", "/api/account/delete", token, password=password, **more)


def test_a_session_goes_on_after_its_password_change(account: Account, other: httpx.Client) -> None:
    elsewhere = Account(other)
    here, there, login = account.open(), account.open(), account.login()
    answer = change(account, here["token"])
    assert (answer.status_code, list(answer.json())) == (200, ["code", "msg", "token", "expires_in"])
    assert (answer.json()["msg"], answer.json()["expires_in"]) == ("密码修改成功", 900)
    fresh = answer.json()["token"]
    claims = [jwt.decode(token, options={"verify_signature": False}) for token in (here["token"], fresh)]
    assert [each["gen"] for each in claims] == [0, 1]
    assert claims[0]["sid"] == claims[1]["sid"]
    for token in (here["token"], there["token"], login):
        assert account.profile(token) == INVALID
        wait_until(partial(is_refused, elsewhere, token), 5, what="the change to be known")
    assert account.profile(fresh)[0] == elsewhere.profile(fresh)[0] == 200

    status, refreshed = account.refresh(here["refresh_token"])
    assert status == 200
    assert account.profile(refreshed["token"])[0] == 200
    assert account.refresh(there["refresh_token"]) == (401, {"code": 401, "msg": "密码已修改，请重新登录"})
    account.credentials["password"] = NEW
    assert account.profile(account.login())[0] == 200


def test_a_login_goes_on_after_its_password_change(account: Account) -> None:
    session, login = account.open(), account.login()
    answer = change(account, login).json()
    assert (answer["msg"], answer["expires_in"]) == ("密码修改成功", 86400)
    assert jwt.get_unverified_header(answer["token"])["alg"] == "HS256"
    assert jwt.decode(answer["token"], SECRET, ["HS256"])["gen"] == 1
    assert account.profile(answer["token"])[0] == 200
    assert account.profile(session["token"]) == account.profile(login) == INVALID
    assert account.refresh(session["refresh_token"])[0] == 401


def test_go_system_token_changes_a_password(account: Account) -> None:
    user_id = account.open()["user_id"]
    claims = {"user_id": user_id, "username": account.credentials["username"], "exp": int(time.time()) + 3600}
    legacy = jwt.encode(claims, SECRET, "HS256")
    answer = change(account, legacy)
    assert answer.status_code == 200
    assert account.profile(legacy) == INVALID
    assert account.profile(answer.json()["token"])[0] == 200


def test_a_deleted_account_is_gone_everywhere(account: Account, other: httpx.Client) -> None:
    elsewhere = Account(other)
    session, login = account.open(), account.login()
    answer = delete(account, login)
    assert (answer.status_code, answer.json()) == (200, {"code": 200, "msg": "账号已注销"})
    for token in (session["token"], login):
        assert account.profile(token) == INVALID
        wait_until(partial(is_refused, elsewhere, token), 5, what="the deletion to be known")
    assert account.client.post("/api/login", json=account.credentials).status_code == 401


@pytest.mark.parametrize("request_", [change, delete])
def test_a_wrong_password_changes_nothing(account: Account, request_: Any) -> None:
    for token in (account.open()["token"], account.login()):
        answer = request_(account, token, "wrongpassword")
        assert (answer.status_code, answer.json()) == (403, {"code": 403, "msg": "当前密码错误"})
        assert account.profile(token)[0] == 200
    assert account.profile(account.login())[0] == 200


@pytest.mark.parametrize("request_", [change, delete])
def test_a_user_who_is_gone_meanwhile_is_refused(account: Account, users: UsersStub, request_: Any) -> None:
    token = account.login()
    users.refusal = (401, "")
    answer = request_(account, token)
    assert (answer.status_code, answer.json()) == INVALID
    assert answer.headers["www-authenticate"] == "Bearer"


def test_violated_password_rule_is_passed_on(account: Account, users: UsersStub) -> None:
    token = account.login()
    users.refusal = (400, "参数错误: new_password: 不能与当前密码相同")
    answer = change(account, token)
    assert (answer.status_code, answer.json()) == (400, {"code": 400, "msg": users.refusal[1]})


@pytest.mark.parametrize("request_", [change, delete])
def test_a_device_token_goes_with_the_password(account: Account, users: UsersStub, request_: Any) -> None:
    opened = account.open()
    request_(account, opened["token"], "wrongpassword", device_token=opened["device_token"])
    device = users.devices[-1]
    assert device is not None
    assert device.user_id == opened["user_id"]
    request_(account, opened["token"], "wrongpassword", device_token="vpd_x")
    assert users.devices[-1] is None


@pytest.mark.parametrize(("request_", "method"), [(change, "ChangePassword"), (delete, "DeleteAccount")])
def test_it_is_sent_once(account: Account, users: UsersStub, request_: Any, method: str) -> None:
    def lost(called: str, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.UNAVAILABLE, "")

    token, calls = account.login(), len(users.calls)
    users.before = lost
    answer = request_(account, token)
    assert (answer.status_code, answer.json()["msg"]) == (503, "服务暂时不可用，请稍后重试")
    assert users.calls[calls:] == [method]


def test_two_hashes_have_twenty_seconds(account: Account, users: UsersStub) -> None:
    change(account, account.login())
    assert PASSWORD_CHANGE_DEADLINE - 2 < users.time_remaining[-1] < PASSWORD_CHANGE_DEADLINE + 1


@pytest.mark.parametrize("request_", [change, delete])
def test_an_older_user_service_is_asked_again(account: Account, users: UsersStub, request_: Any) -> None:
    token, calls = account.login(), len(users.calls)
    users.is_outdated = True
    answer = request_(account, token)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert len(users.calls) - calls == 4


def refused(*metadata: tuple[str, str]) -> Any:
    def before(method: str, context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata(metadata)
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "")

    return before


def test_throttling_and_overload_are_told_apart(account: Account, users: UsersStub, gateway: Process) -> None:
    token = account.login()
    asks: list[Callable[[], httpx.Response]] = [
        lambda: account.client.post("/api/login", json=account.credentials),
        lambda: account.client.post("/api/login", json={**account.credentials, "username": secrets.token_hex(8)}),
        lambda: account.client.post("/api/sessions", json=account.credentials),
        lambda: change(account, token),
        lambda: delete(account, token),
    ]
    lines = len(gateway.records)
    for each in asks:
        users.before = refused((REFUSAL, THROTTLED), (RETRY_AFTER, "17"))
        answer = each()
        assert (answer.status_code, answer.json(), answer.headers["retry-after"]) == (*THROTTLED_ANSWER, "17")
        for metadata in [(RETRY_AFTER, "7")], [(RETRY_AFTER, "7"), (REFUSAL, "c4naryzq")]:
            users.before = refused(*metadata)
            answer = each()
            assert (answer.status_code, answer.json()["msg"]) == (503, "服务繁忙，请稍后重试")
            assert 7 <= int(answer.headers["retry-after"]) <= 11

    def unanswered() -> int:
        return sum(record["message"] == "the user service did not answer" for record in gateway.records[lines:])

    wait_until(lambda: unanswered() >= 2 * len(asks))
    assert unanswered() == 2 * len(asks)
    assert 'http_requests_total{method="POST",route="/api/login",status="429"} ' in admin(gateway, "/metrics").text
    problem = {"Accept": "application/problem+json"}
    users.before = refused((REFUSAL, THROTTLED), (RETRY_AFTER, "17"))
    body = account.client.post("/api/login", json=account.credentials, headers=problem).json()
    assert body["detail"] == THROTTLED_ANSWER[1]["msg"]
    assert (body["title"], body["status"]) == ("Too Many Requests", 429)


def test_no_new_secret_is_shown(account: Account, gateway: Process, users: UsersStub) -> None:
    opened = account.open()
    device, new = opened["device_token"], "c4naryzq-secret"
    answers = [
        change(account, opened["token"], "c4naryzq-wrong", new, device_token=device),
        change(account, opened["token"], new="c4nary", device_token=device),
        change(account, opened["token"], new=new, device_token=device),
        delete(account, opened["token"], "c4naryzq-wrong"),
    ]
    fresh = answers[2].json()["token"]
    users.before = refused((REFUSAL, THROTTLED), (RETRY_AFTER, "17"))
    answers.append(delete(account, fresh, new))
    shown = gateway.output + admin(gateway, "/metrics").text
    assert [answer.status_code for answer in answers] == [403, 400, 200, 401, 429]
    for secret in ("c4nary", device[-40:], fresh[-40:]):
        assert secret not in shown
        assert secret == fresh[-40:] or secret not in "".join(answer.text for answer in answers)
