"""What operators do about users, as the clients of two gateways notice it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.support.etcd import Etcd
from tests.support.platform import Platform
from tests.support.process import ROOT
from tests.support.wait import wait_until

PATHS = ("/api/login", "/api/sessions")
NOTICED = 2.5
"""Seconds: two for the gateways, and what a request takes."""


@pytest.fixture(scope="module")
def pair(etcd: Etcd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Two gateways."""
    with Platform(etcd, tmp_path_factory.mktemp("operators"), gateways=2) as platform:
        yield platform


@pytest.fixture
def users(pair: Platform) -> Callable[..., str]:
    """Run a command beside the user service, and return what it prints."""

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "user_svc", "users", *arguments]
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DATA_DIR": str(pair.folder), "BCRYPT_COST": "10"}
        return subprocess.run(command, cwd=pair.folder, env=env, check=True, capture_output=True, text=True).stdout

    return run


@pytest.fixture
def clients(pair: Platform) -> Iterator[list[httpx.Client]]:
    with pair.clients(timeout=20) as clients:
        yield clients


def tokens(clients: list[httpx.Client], credentials: dict[str, str]) -> list[str]:
    """One token of each kind."""
    return [each.post(path, json=credentials).json()["token"] for each, path in zip(clients, PATHS, strict=True)]


def are_out(clients: list[httpx.Client], tokens: list[str]) -> bool:
    """Whether all gateways refuse all tokens."""
    headers = [{"Authorization": f"Bearer {token}"} for token in tokens]
    return {client.get("/api/profile", headers=each).status_code for client in clients for each in headers} == {401}


@pytest.mark.parametrize("command", [["disable"], ["logout"], ["reset-password", "--yes"], ["erase", "--yes"]])
def test_a_command_reaches_every_gateway_at_once(
    clients: list[httpx.Client], users: Callable[..., str], credentials: dict[str, str], command: list[str]
) -> None:
    held = tokens(clients, credentials)
    assert not are_out(clients, held)
    users(command[0], credentials["username"], *command[1:])
    wait_until(lambda: are_out(clients, held), NOTICED, what="every gateway to refuse the tokens")


def test_only_the_password_reveals_a_disabled_user(
    clients: list[httpx.Client], users: Callable[..., str], credentials: dict[str, str]
) -> None:
    users("disable", credentials["username"])
    wrong = {**credentials, "password": "wrong-password"}
    statuses = [
        client.post(path, json=each).status_code
        for client, path in zip(clients, PATHS, strict=True)
        for each in (credentials, wrong)
    ]
    assert statuses == [401, 401, 403, 401]
    users("enable", credentials["username"])
    assert [client.post(path, json=credentials).status_code for client, path in zip(clients, PATHS, strict=True)] == [
        200,
        200,
    ]


def test_reset_password_is_the_printed_one(
    clients: list[httpx.Client], users: Callable[..., str], credentials: dict[str, str]
) -> None:
    printed = users("reset-password", credentials["username"], "--yes").strip()
    answer = clients[0].post("/api/login", json={**credentials, "password": printed})
    assert answer.status_code == 200
    assert clients[0].post("/api/login", json=credentials).status_code == 401
