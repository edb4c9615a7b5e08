"""Password change, deletion and guesses on the whole platform: two gateways and three user services on one database."""

import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.platform.conftest import account
from tests.support.etcd import Etcd
from tests.support.platform import Platform
from tests.support.wait import wait_until

NEW = "correct horse battery"
WRONG = (401, '{"code":401,"msg":"密码错误","token":"","user_id":0}')
THROTTLED = (429, '{"code":429,"msg":"尝试次数过多，请稍后重试"}')


@pytest.fixture(scope="module")
def clients(etcd: Etcd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[httpx.Client]]:
    """A client of each gateway."""
    with (
        Platform(etcd, tmp_path_factory.mktemp("accounts"), users=3, gateways=2) as platform,
        platform.clients(timeout=20) as clients,
    ):
        yield clients


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def profiles(clients: list[httpx.Client], token: str) -> set[int]:
    return {each.get("/api/profile", headers=bearer(token)).status_code for each in clients}


def throttled(answer: httpx.Response) -> httpx.Response | None:
    return answer if (answer.status_code, answer.text) == THROTTLED else None


def served(answer: httpx.Response) -> httpx.Response | None:
    """Return an answer other than that of a service that was too busy."""
    return answer if answer.status_code != 503 else None


def await_out(clients: list[httpx.Client], token: str) -> None:
    wait_until(lambda: profiles(clients, token) == {401}, 2.5, what="the token to be refused everywhere")


@pytest.mark.parametrize("path", ["/api/login", "/api/sessions"])
def test_new_password_ends_all_other_sessions(
    clients: list[httpx.Client], credentials: dict[str, str], path: str
) -> None:
    here, there = clients
    own = here.post(path, json=credentials).json()
    others = [there.post(each, json=credentials).json() for each in ("/api/login", "/api/sessions")]
    body = {"current_password": credentials["password"], "new_password": NEW}
    changed = here.put("/api/password", json=body, headers=bearer(own["token"]))
    assert changed.status_code == 200, changed.text
    for each in (own, *others):
        await_out(clients, each["token"])
    assert profiles(clients, changed.json()["token"]) == {200}
    if path == "/api/sessions":
        refreshed = there.post("/api/sessions/refresh", json={"refresh_token": own["refresh_token"]})
        assert refreshed.status_code == 200
        assert profiles(clients, refreshed.json()["token"]) == {200}
    refused = there.post("/api/sessions/refresh", json={"refresh_token": others[1]["refresh_token"]})
    assert (refused.status_code, refused.json()["msg"]) == (401, "密码已修改，请重新登录")
    assert there.post("/api/login", json=credentials).status_code == 401
    assert there.post("/api/login", json={**credentials, "password": NEW}).status_code == 200


def test_weak_new_passwords_are_refused_with_the_rule(clients: list[httpx.Client], credentials: dict[str, str]) -> None:
    token = clients[0].post("/api/login", json=credentials).json()["token"]
    for new in (credentials["password"], credentials["username"], "password1", "woaini1314"):
        body = {"current_password": credentials["password"], "new_password": new}
        answer = clients[0].put("/api/password", json=body, headers=bearer(token))
        assert (answer.status_code, answer.json()["msg"].rpartition(": ")[0]) == (400, "参数错误: new_password"), new
    assert profiles(clients, token) == {200}


def test_a_deleted_account_is_out_everywhere(clients: list[httpx.Client], credentials: dict[str, str]) -> None:
    session = clients[0].post("/api/sessions", json=credentials).json()
    login = clients[1].post("/api/login", json=credentials).json()
    body = {"password": credentials["password"]}
    answer = clients[0].post("/api/account/delete", json=body, headers=bearer(session["token"]))
    assert (answer.status_code, answer.json()) == (200, {"code": 200, "msg": "账号已注销"})
    for each in (session, login):
        await_out(clients, each["token"])
    assert clients[1].post("/api/login", json=credentials).status_code == 401
    assert clients[1].post("/api/register", json=credentials).status_code == 409


def test_device_token_lets_the_owner_in_despite_guesses(
    clients: list[httpx.Client], credentials: dict[str, str]
) -> None:
    opened = clients[0].post("/api/sessions", json=credentials).json()
    unknown = account(f"u_{secrets.token_hex(6)}")
    answers: dict[str, list[tuple[int, str]]] = {credentials["username"]: [], unknown["username"]: []}
    over = threading.Event()

    def guess(number: int) -> None:
        while not over.is_set():
            for name, seen in answers.items():
                body = account(name, f"wrong{number:04}")
                answer = clients[number % 2].post("/api/login", json=body)
                seen.append((answer.status_code, answer.text))

    with ThreadPoolExecutor(8) as threads:
        guessers = [threads.submit(guess, number) for number in range(8)]
        wait_until(lambda: all(Counter(seen)[THROTTLED] > 20 for seen in answers.values()), 60, what="429 for guesses")
        body = {**credentials, "device_token": opened["device_token"]}
        again = wait_until(lambda: served(clients[1].post("/api/sessions", json=body)), 20, what="the owner's answer")
        # a right password that hits the moment in which one is taken is taken
        without = wait_until(lambda: throttled(clients[1].post("/api/sessions", json=credentials)), 20, what="429")
        over.set()
        for each in guessers:
            each.result()
    assert again is not None
    assert again.status_code == 200
    assert without is not None
    assert 1 <= int(without.headers["retry-after"]) <= 60
    known_name, unknown_name = ({each for each in seen if each[0] != 503} for seen in answers.values())
    assert known_name == unknown_name == {WRONG, THROTTLED}
    for seen in answers.values():
        assert Counter(seen)[WRONG] < 30  # ten are free, a few were queued, and one a second is tried
