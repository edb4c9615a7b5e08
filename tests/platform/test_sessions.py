"""Sessions on the whole platform: several gateways and user services on one database."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import jwt
import pytest

from tests.platform.conftest import PASSWORD, account
from tests.support.etcd import Etcd
from tests.support.platform import Platform, admin
from tests.support.process import ROOT
from tests.support.wait import wait_until

PAGE = (ROOT / "docs" / "accounts.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pair(etcd: Etcd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Platform, list[httpx.Client]]]:
    """Two gateways and two user services, and a client of each gateway."""
    with Platform(etcd, tmp_path_factory.mktemp("pair"), users=2, gateways=2) as platform:
        clients = [
            httpx.Client(base_url=f"http://127.0.0.1:{each.port}", timeout=15, trust_env=False)
            for each in platform.gateways
        ]
        assert clients[0].post("/api/register", json=account()).status_code == 200
        yield platform, clients
        for each in clients:
            each.close()


def status(client: httpx.Client, token: str) -> int:
    return client.get("/api/profile", headers={"Authorization": f"Bearer {token}"}).status_code


def post(client: httpx.Client, path: str, token: str) -> None:
    assert client.post(path, headers={"Authorization": f"Bearer {token}"}).status_code == 200


def refused_everywhere(clients: list[httpx.Client], token: str) -> None:
    wait_until(lambda: {status(each, token) for each in clients} == {401}, 2.5, what="the token to be refused")


def test_page_commands_print_the_shown_answers(platform: Platform, client: httpx.Client) -> None:
    assert client.post("/api/register", json=account()).status_code == 200
    known: dict[str, str] = {}
    names = {"session": "session_id", "token": "token", "refresh": "refresh_token", "device": "device_token"}

    def filled(text: str) -> str:
        return re.sub(r"<(session|token|refresh|device)>", lambda name: known[name[1]], text)

    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL):
        lines = block.replace("http://127.0.0.1:8080", platform.url).splitlines()
        for typed, expected in zip(lines[::2], lines[1::2], strict=True):
            command = f"{filled(typed.removeprefix('$ '))} -sS"
            answer = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout
            answered = json.loads(answer)
            known |= {name: answered[field] for name, field in names.items() if field in answered}
            answer = re.sub(r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"', '"<moment>"', answer)
            answer = re.sub(r"12095\d\d", "1209600", answer)  # some seconds later
            assert answer == filled(expected)
    assert set(known) == set(names)


def test_each_logout_is_known_to_all_gateways(pair: tuple[Platform, list[httpx.Client]]) -> None:
    platform, clients = pair
    here, there = clients
    login = here.post("/api/login", json=account()).json()
    session, other = (here.post("/api/sessions", json=account()).json() for _ in range(2))
    # as the Go system makes them
    legacy = jwt.encode(
        {"user_id": login["user_id"], "username": "testuser123", "exp": int(time.time()) + 86400},
        platform.jwt_secret,
        "HS256",
    )
    tokens = [login["token"], session["token"], other["token"], legacy]
    assert {status(each, token) for each in clients for token in tokens} == {200}

    headers = {"Authorization": f"Bearer {session['token']}"}
    listed = here.get("/api/sessions", headers=headers).json()["data"]
    assert [each["session_id"] for each in listed if each["current"]] == [session["session_id"]]
    answer = here.delete(f"/api/sessions/{other['session_id']}", headers=headers)
    assert answer.status_code == 200
    refused_everywhere(clients, other["token"])
    post(here, "/api/logout", session["token"])
    refused_everywhere(clients, session["token"])
    post(here, "/api/logout", login["token"])
    refused_everywhere(clients, login["token"])
    assert {status(each, legacy) for each in clients} == {200}

    last = there.post("/api/sessions", json=account()).json()
    post(here, "/api/logout/all", last["token"])
    for token in (last["token"], legacy):
        refused_everywhere(clients, token)
    fresh = there.post("/api/sessions", json=account()).json()
    again = there.post("/api/login", json=account()).json()
    assert {status(each, token) for each in clients for token in (fresh["token"], again["token"])} == {200}
    refresh = {"refresh_token": last["refresh_token"]}
    assert here.post("/api/sessions/refresh", json=refresh).json() == {"code": 401, "msg": "已退出登录"}


def test_refreshes_at_once_get_one_token(pair: tuple[Platform, list[httpx.Client]]) -> None:
    _, clients = pair
    opened = clients[0].post("/api/sessions", json=account()).json()

    def refresh(number: int) -> httpx.Response:
        body = {"refresh_token": opened["refresh_token"]}
        return clients[number % 2].post("/api/sessions/refresh", json=body)

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(refresh, range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1


def test_session_tokens_are_not_shown_or_stored(etcd: Etcd, make_platform: Callable[..., Platform]) -> None:
    platform = make_platform(etcd, env={"LOG_LEVEL": "DEBUG"})
    with platform.client() as client:
        client.post("/api/register", json=account())
        opened = client.post("/api/sessions", json=account()).json()
        body = {"refresh_token": opened["refresh_token"]}
        refreshed = client.post("/api/sessions/refresh", json=body).json()
        accept = {"Accept": "application/problem+json"}
        seen = [
            client.post("/api/sessions/refresh", json={"refresh_token": opened["refresh_token"] + "x"}, headers=accept),
            client.get("/api/profile", headers={**accept, "Authorization": f"Bearer {opened['token']}x"}),
        ]
        assert {answer.status_code for answer in seen} == {401}
        post(client, "/api/logout", refreshed["token"])
    processes = [*platform.users, *platform.gateways]
    texts = [answer.text for answer in seen] + [admin(process, "/metrics").text for process in processes]
    for process in processes:
        process.terminate()
        assert process.wait() == 0
        texts.append(process.output)
    (database,) = platform.folder.glob("*.db")
    stored = b"".join(path.read_bytes() for path in platform.folder.glob(f"{database.name}*"))
    texts.append(stored.decode("latin-1"))
    for pair in (opened, refreshed):
        for secret in (pair["token"], pair["refresh_token"], pair["refresh_token"][4:], platform.jwt_secret, PASSWORD):
            assert not [text for text in texts if secret in text]
