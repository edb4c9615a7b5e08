"""How many connections there may be, how long idle ones live, and what is left when files run out."""

import resource
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.gateway_svc.conftest import SECRET, StartGateway, admin
from tests.gateway_svc.http_server.conftest import GET_PING, Connect
from tests.support.platform import sample
from tests.support.process import Process
from tests.support.raw_http import RawClient
from tests.support.users_stub import UsersStub
from tests.support.wait import wait_until

REFUSED = "too many connections, refused new ones"


def refusals(gateway: Process) -> list[int]:
    return [record["refused"] for record in gateway.records if record["message"] == REFUSED]


def test_connections_beyond_the_limit_are_closed(
    start_gateway: StartGateway, users: UsersStub, connect: Connect
) -> None:
    gateway = start_gateway(USER_SERVICE_TARGET=users.target, MAX_CONNECTIONS="5")
    kept = [connect(gateway) for _ in range(5)]
    for client in kept:
        assert client.ask(GET_PING).status == 200
    for _ in range(3):
        assert connect(gateway).is_closed()
    assert all(client.ask(GET_PING).status == 200 for client in kept)
    assert sample(gateway, "http_connections") == 5
    assert sample(gateway, "http_connections_refused_total") == 3
    assert wait_until(lambda: refusals(gateway)) == [1]  # the other two are for the next line, a minute later
    kept.pop().close()
    wait_until(lambda: sample(gateway, "http_connections") == 4, 5)
    assert connect(gateway).ask(GET_PING).status == 200


class LimitedProcess(Process):
    """A gateway that may open `files` files, whose hard limit is `hard`."""

    def __init__(self, cwd: Path, env: dict[str, str], *, files: int, hard: int) -> None:
        self._limits = (files, hard)
        super().__init__("gateway_svc", env=env, cwd=cwd)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, self._limits)


StartLimited = Callable[..., Process]


@pytest.fixture
def start_limited(tmp_path: Path, users: UsersStub) -> Iterator[StartLimited]:
    with ExitStack() as stack:

        def start(*, files: int, hard: int, **env: str) -> Process:
            env = {"JWT_SECRET": SECRET, "USER_SERVICE_TARGET": users.target, **env}
            return stack.enter_context(LimitedProcess(tmp_path, env, files=files, hard=hard))

        yield start


def test_admin_port_answers_when_files_run_out(start_limited: StartLimited, connect: Connect) -> None:
    gateway = start_limited(files=64, hard=64)
    wait_until(lambda: admin(gateway, "/readyz").status_code == 200, 20)
    idle = [RawClient(gateway.port) for _ in range(100)]
    wait_until(lambda: refusals(gateway), 5)
    for path in ("/livez", "/readyz", "/metrics"):
        assert admin(gateway, path).status_code == 200
    connections = sample(gateway, "http_connections")
    assert 10 <= connections < 64
    process = psutil.Process(gateway.pid)
    before = process.cpu_times().user
    assert process.num_fds() < 64
    for client in idle:
        client.close()
    wait_until(lambda: sample(gateway, "http_connections") == 0, 5)
    assert connect(gateway).ask(GET_PING).status == 200
    assert process.cpu_times().user - before < 1


def test_connections_that_say_nothing_make_room_again(start_limited: StartLimited, connect: Connect) -> None:
    gateway = start_limited(files=64, hard=64, HEAD_TIMEOUT="1")
    idle = [connect(gateway) for _ in range(100)]
    assert all(client.is_closed() for client in idle)
    assert connect(gateway).ask(GET_PING).status == 200
    wait_until(lambda: refusals(gateway))


@pytest.mark.parametrize(("hard", "limit"), [(20_000, 500), (200, None)])
def test_soft_limit_of_files_is_raised(start_limited: StartLimited, hard: int, limit: int | None) -> None:
    gateway = start_limited(files=64, hard=hard, MAX_CONNECTIONS="500")
    assert gateway.port
    soft, _ = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
    said = [record for record in gateway.records if "MAX_CONNECTIONS" in record["message"]]
    if limit is None:
        assert soft == hard
        assert (said[0]["max_connections"], said[0]["files"]) == (500, hard)
    else:
        assert soft == 500 + 128
        assert not said


def test_a_client_that_reads_nothing_is_cut_off(impatient: Process, connect: Connect) -> None:
    client = connect(impatient)
    for _ in range(100):
        client.send(b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_until(lambda: not _is_connected(impatient, client), 10, what="the connection to end")


def _is_connected(gateway: Process, client: RawClient) -> bool:
    own = client.socket.getsockname()[1]
    return any(c.raddr and c.raddr.port == own for c in psutil.Process(gateway.pid).net_connections("tcp"))


def test_unfinished_connection_does_not_outlive_the_process(
    start_gateway: StartGateway, users: UsersStub, connect: Connect
) -> None:
    gateway = start_gateway(USER_SERVICE_TARGET=users.target)
    idle, partial, unread = connect(gateway), connect(gateway), connect(gateway)
    partial.send(GET_PING[:-2])
    assert unread.ask(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n").status == 404
    gateway.terminate()
    assert gateway.wait() == 0
    assert all(client.is_closed() for client in (idle, partial, unread))
