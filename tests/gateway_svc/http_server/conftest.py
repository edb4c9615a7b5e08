"""What the tests of the gateway's HTTP server share."""

from collections.abc import Callable, Iterator

import pytest

from tests.gateway_svc.conftest import SECRET, wait_until_ready
from tests.support.process import Process
from tests.support.raw_http import RawClient
from tests.support.users_stub import UsersStub

Connect = Callable[[Process], RawClient]

GET_PING = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
POST_LOGIN = b"POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="session")
def impatient(users: UsersStub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One gateway whose time-outs are short, for tests that leave it as it was."""
    env = {
        "JWT_SECRET": SECRET,
        "USER_SERVICE_TARGET": users.target,
        "HEAD_TIMEOUT": "0.5",
        "KEEP_ALIVE_TIMEOUT": "4",
    }
    with Process("gateway_svc", env=env, cwd=tmp_path_factory.mktemp("gateway")) as process:
        wait_until_ready(process)
        yield process


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connects to a gateway's port; what is still open when the test ends is closed."""
    made: list[RawClient] = []

    def make(gateway: Process) -> RawClient:
        made.append(RawClient(gateway.port))
        return made[-1]

    yield make
    for client in made:
        client.close()
