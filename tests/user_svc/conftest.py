"""What the tests of the user service share."""

import secrets
from collections.abc import Iterator

import pytest

from tests.support.process import Process
from tests.user_svc.client import Client, ready_client


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One service on SQLite for tests that leave it as it was: use names of your own."""
    folder = tmp_path_factory.mktemp("shared")
    with Process("user_svc", env={"LOG_LEVEL": "DEBUG"}, cwd=folder) as process, ready_client(process) as client:
        yield client


@pytest.fixture
def name() -> str:
    """A username that no other test uses, in lower case."""
    return f"u_{secrets.token_hex(6)}"
