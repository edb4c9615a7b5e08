"""Platforms that the tests of this room share."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.etcd import Etcd
from tests.support.platform import Platform

NAME, PASSWORD = "testuser123", "password123"


@pytest.fixture(scope="module")
def platform(etcd: Etcd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One user service and one gateway that a module's tests share and leave alone."""
    with Platform(etcd, tmp_path_factory.mktemp("platform")) as platform:
        yield platform


@pytest.fixture
def client(platform: Platform) -> Iterator[httpx.Client]:
    with platform.client() as client:
        yield client


@pytest.fixture(scope="module")
def three_users(etcd: Etcd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Three user services and one gateway; see `of_three`."""
    with Platform(etcd, tmp_path_factory.mktemp("three"), users=3, env={"DRAIN_DELAY": "1"}) as platform:
        with platform.client() as client:
            assert client.post("/api/register", json=account()).status_code == 200
        yield platform


@pytest.fixture
def of_three(three_users: Platform) -> Platform:
    """Three user services that are there again at the start of each test, with testuser123 registered."""
    while len(three_users.users) < 3:
        three_users.start_user()
    three_users.wait_until_ready()
    return three_users


@pytest.fixture
def make_platform(tmp_path: Path) -> Iterator[Callable[..., Platform]]:
    """Make platforms that a test has to itself, on an etcd that it names."""
    made: list[Platform] = []

    def make(etcd: Etcd, **options: object) -> Platform:
        platform = Platform(etcd, tmp_path, **options)  # type: ignore[arg-type]
        made.append(platform)
        return platform.__enter__()

    yield make
    for platform in made:
        platform.close()
        print(platform.output)  # which pytest shows of a test that failed


@pytest.fixture
def credentials(clients: list[httpx.Client]) -> dict[str, str]:
    """A user of a test's own, registered at the first of the module's `clients`."""
    body = account(f"u_{secrets.token_hex(6)}")
    assert clients[0].post("/api/register", json=body).status_code == 200
    return body


def account(name: str = NAME, password: str = PASSWORD) -> dict[str, str]:
    """Return the body of a registration or a login."""
    return {"username": name, "password": password}
