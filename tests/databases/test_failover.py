"""A database that is lost in each way that there is, and one that takes its place."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import grpc
import pymysql
import pytest

from tests.support.mariadb import PASSWORD as DB_PASSWORD
from tests.support.mariadb import USER, Database, Server
from tests.support.process import Process
from tests.support.tcp_proxy import TcpProxy
from tests.support.wait import wait_until
from tests.user_svc.client import SERVICE, Client, code_of, ready_client

BACK = 5.0
"""Seconds within which a usable database that can be reached must be in use."""
DEADLINE = 5.0

Loss = Callable[[TcpProxy, Server], object]
LOSSES: dict[str, Loss] = {
    "killed": lambda _, server: server.kill(),
    "stopped": lambda _, server: server.suspend(),
    "cut off": lambda proxy, _: proxy.hang(),
    "connections reset": lambda proxy, _: proxy.shut(),
    "shut down": lambda _, server: server.stop(),
}


@pytest.fixture
def proxy(pair: tuple[Database, Database]) -> Iterator[TcpProxy]:
    with TcpProxy(pair[0].server.port) as proxy:
        yield proxy


@pytest.fixture
def client(pair: tuple[Database, Database], proxy: TcpProxy, tmp_path: Path) -> Iterator[Client]:
    with (
        Process("user_svc", env={"DB_DSN": pair[0].go_dsn_by(proxy.port)}, cwd=tmp_path) as process,
        ready_client(process) as client,
    ):
        yield client


def outcome(call: Callable[..., object], name: str) -> grpc.StatusCode:
    try:
        call(name, timeout=DEADLINE)
    except grpc.RpcError as error:
        return code_of(error)
    return grpc.StatusCode.OK


def is_refused(client: Client) -> bool:
    """Whether a registration and a login fail, and in the way that means a database that cannot be used."""
    outcomes = {outcome(client.register, "during"), outcome(client.login, "before")}
    assert grpc.StatusCode.INTERNAL not in outcomes
    return grpc.StatusCode.OK not in outcomes


def is_served(client: Client) -> bool:
    """Whether a registration and a login succeed."""
    return {outcome(client.register, "after"), outcome(client.login, "after")} == {grpc.StatusCode.OK}


def back(proxy: TcpProxy, server: Server) -> None:
    """Undo whatever was done."""
    server.resume()
    if not server.running:
        server.start()
    proxy.flow()
    proxy.accept()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_a_database_that_is_lost_and_comes_back(
    client: Client, proxy: TcpProxy, pair: tuple[Database, Database], loss: Loss
) -> None:
    first, _ = pair
    assert client.register("before").code == 200
    try:
        loss(proxy, first.server)
        wait_until(lambda: is_refused(client), what="calls to be refused")
        client.wait_until_not_serving(SERVICE)
    finally:
        back(proxy, first.server)
    wait_until(lambda: is_served(client), BACK, what="calls to be served")
    names = [row["username"] for row in first.execute("SELECT username FROM users")]
    assert {"before", "after"} <= set(names)
    assert len(names) == len(set(names))
    assert client.process.running


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_a_database_whose_place_another_takes(
    client: Client, proxy: TcpProxy, pair: tuple[Database, Database], loss: Loss
) -> None:
    first, second = pair
    assert client.register("before").code == 200
    try:
        loss(proxy, first.server)
        wait_until(lambda: is_refused(client), what="calls to be refused")
        proxy.lead_to(second.server.port)
        proxy.flow()
        proxy.accept()
        wait_until(lambda: is_served(client), BACK, what="calls to be served")
    finally:
        back(proxy, first.server)
    assert "after" in [row["username"] for row in second.execute("SELECT username FROM users")]
    assert client.process.running


def test_a_server_that_hangs_after_it_came_back(client: Client, proxy: TcpProxy) -> None:
    """As behind a proxy that has not noticed yet that one of two servers hangs."""
    proxy.silence_after(0)
    proxy.shut()
    client.wait_until_not_serving(SERVICE)
    proxy.silence_after(1)
    silent_from = proxy.accepted
    proxy.accept()
    wait_until(lambda: proxy.accepted > silent_from)
    wait_until(lambda: client.serves(SERVICE), BACK)
    proxy.silence_after(None)
    wait_until(lambda: is_served(client), BACK, what="calls to be served")


@contextmanager
def no_connection_left(server: Server, setting: str) -> Iterator[None]:
    """Take every connection that the server gives under a setting."""
    server.execute(f"SET GLOBAL {setting}")
    with ExitStack() as stack:
        with suppress(pymysql.MySQLError):
            while True:
                stack.enter_context(
                    pymysql.connect(host="127.0.0.1", port=server.port, user=USER, password=DB_PASSWORD)
                )
        yield


@pytest.mark.parametrize(
    ("setting", "usual", "cause"),
    [
        ("max_connections = 10", "max_connections = 500", "ER_CON_COUNT_ERROR"),
        ("max_user_connections = 10", "max_user_connections = 400", "ER_TOO_MANY_USER_CONNECTIONS"),
    ],
    ids=["all", "of the user"],
)
def test_a_server_that_has_no_connection_left(
    client: Client, proxy: TcpProxy, pair: tuple[Database, Database], setting: str, usual: str, cause: str
) -> None:
    server = pair[0].server
    proxy.shut()
    wait_until(lambda: not [row for row in server.execute("SHOW PROCESSLIST") if row["User"] == USER])
    try:
        with no_connection_left(server, setting):
            proxy.accept()
            wait_until(lambda: any(cause in str(record.get("cause")) for record in client.process.records))
            assert is_refused(client)
        wait_until(lambda: is_served(client), BACK, what="calls to be served")
    finally:
        server.execute(f"SET GLOBAL {usual}")
    assert client.process.running
