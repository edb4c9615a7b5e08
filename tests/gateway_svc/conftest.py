"""What the tests of the gateway share."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from gateway_svc.config import GatewaySettings
from service_kit.settings import InvalidSettingsError, load
from tests.support.process import Process
from tests.support.users_stub import UsersStub
from tests.support.wait import wait_until

SECRET = "a secret of the tests, at least 32 bytes long"
PREVIOUS = "gateway.key"
CREDENTIALS = {"username": "testuser123", "password": "password123"}

StartGateway = Callable[..., Process]


@pytest.fixture(scope="session")
def users() -> Iterator[UsersStub]:
    """The user service behind the shared gateway; `before` and `refusal` are reset after each test."""
    with UsersStub() as stub:
        yield stub


@pytest.fixture(autouse=True)
def _unchanged_users(users: UsersStub) -> Iterator[None]:
    yield
    users.before = users.refusal = users.feed_error = None
    users.is_outdated = False
    users.cancelled.clear()


@pytest.fixture(scope="session")
def gateway(users: UsersStub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One gateway for tests that leave it as it was; bodies must arrive within a second."""
    env = {
        "JWT_SECRET": SECRET,
        "JWT_PREVIOUS_SECRETS": PREVIOUS,
        "USER_SERVICE_TARGET": users.target,
        "BODY_TIMEOUT": "1",
        "http_proxy": "http://127.0.0.1:1",  # which must not come between the gateway and its instances
    }
    with Process("gateway_svc", env=env, cwd=tmp_path_factory.mktemp("gateway")) as process:
        wait_until_ready(process)
        yield process


@pytest.fixture(scope="session")
def client(gateway: Process) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{gateway.port}", timeout=20) as http:
        yield http


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[StartGateway]:
    """Starts gateways of a test's own."""
    started: list[Process] = []

    def start(*, wait: bool = True, **env: str) -> Process:
        process = Process("gateway_svc", env={"JWT_SECRET": SECRET, **env}, cwd=tmp_path)
        started.append(process)
        if wait:
            wait_until_ready(process)
        return process

    yield start
    for process in started:
        process.close()


def setting_problems(cwd: Path, monkeypatch: pytest.MonkeyPatch, **env: str) -> list[str]:
    """Return what is wrong with settings that are right but for `env`."""
    monkeypatch.chdir(cwd)
    for name, value in {"JWT_SECRET": SECRET, "USER_SERVICE_TARGET": "x", **env}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettingsError) as caught:
        load(GatewaySettings)
    return caught.value.problems


def admin(gateway: Process, path: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{gateway.admin_port}{path}", timeout=5)


def wait_until_ready(gateway: Process) -> None:
    wait_until(lambda: admin(gateway, "/readyz").status_code == 200, 20, what="the gateway to be ready")


def raw(gateway: Process, *parts: bytes, timeout: float = 10.0) -> bytes:
    """Send `parts` as they are on a new connection, and return what comes back until it is closed."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=timeout) as connection:
        for part in parts:
            connection.sendall(part)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received
