"""The key that signs tokens is rotated under load, while gateways read the Secret at different moments."""

import asyncio
import itertools
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.platform.conftest import account
from tests.support.certificates import Mount
from tests.support.etcd import Etcd
from tests.support.platform import Platform, sample
from tests.support.process import Process
from tests.support.traffic import Traffic
from tests.support.wait import wait_until

APART = float(os.environ.get("SECONDS_APART", "2"))
"""Seconds between the moments at which two gateways read a Secret that changed."""
RATE = 100


class Clients:
    """A browser's session and a token of a login, each used at every gateway; `send` is what Traffic calls."""

    def __init__(self, urls: list[str]) -> None:
        self._urls = itertools.cycle(urls)
        self._tokens: list[str] = []
        self._refresh_token = ""
        self._turn = asyncio.Lock()

    def begin(self, client: httpx.Client) -> None:
        assert client.post("/api/register", json=account()).status_code == 200
        opened = client.post("/api/sessions", json=account()).json()
        self._tokens = [client.post("/api/login", json=account()).json()["token"], opened["token"]]
        self._refresh_token = opened["refresh_token"]

    async def send(self, client: httpx.AsyncClient, number: int) -> httpx.Response:
        url = next(self._urls)
        if number % RATE == 0:
            async with self._turn:
                body = {"refresh_token": self._refresh_token}
                answer = await client.post(f"{url}/api/sessions/refresh", json=body)
                if answer.status_code == 200:
                    self._refresh_token, self._tokens[1] = answer.json()["refresh_token"], answer.json()["token"]
                return answer
        token = self._tokens[number % 2]
        return await client.get(f"{url}/api/profile", headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def mounts(tmp_path: Path) -> list[Mount]:
    """The Secret, as it is mounted for each of two gateways."""
    old = secrets.token_hex(32).encode()
    return [Mount(tmp_path / name, {"jwt-secret": old}) for name in ("one", "other")]


@pytest.fixture
def platform(etcd: Etcd, tmp_path: Path, mounts: list[Mount]) -> Iterator[Platform]:
    with Platform(etcd, tmp_path, gateways=0) as platform:
        for mount in mounts:
            folder = mount["jwt-secret"].parent
            platform.start_gateway(
                JWT_SECRET="",
                JWT_SECRET_FILE=str(folder / "jwt-secret"),
                JWT_PREVIOUS_SECRETS_FILE=str(folder / "jwt-previous-secrets"),
                FILE_POLL_INTERVAL="0.2",
            )
        platform.wait_until_ready()
        yield platform


@pytest.mark.faults
@pytest.mark.timeout(60 + 6 * APART)
def test_rotation_under_load_refuses_no_request(platform: Platform, mounts: list[Mount]) -> None:
    clients = Clients([f"http://127.0.0.1:{gateway.port}" for gateway in platform.gateways])
    with platform.client() as client:
        clients.begin(client)
    old, new = mounts[0]["jwt-secret"].read_bytes(), secrets.token_hex(32).encode()
    steps = [
        {"jwt-secret": old, "jwt-previous-secrets": new},
        {"jwt-secret": new, "jwt-previous-secrets": old},
    ]
    with Traffic(clients.send, rate=RATE) as traffic:
        traffic.wait_for(RATE)
        for number, step in enumerate(steps, 1):
            for mount, gateway in zip(mounts, platform.gateways, strict=True):
                mount.renew(step)
                wait_until(lambda g=gateway, n=number: _taken(g) == n, what="the keys to be read")  # type: ignore[misc]
                traffic.wait_seconds(APART)
    assert traffic.others(200) == [], traffic.summary
    print(f"{len(traffic.sent)} requests, {traffic.summary}")


def _taken(gateway: Process) -> float:
    return sample(gateway, "key_reloads_total", result="taken")
