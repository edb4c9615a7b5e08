"""A database that stops to accept writes, as a primary does that is demoted, and its successor."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from tests.support.mariadb import Database
from tests.support.platform import admin
from tests.support.process import Process
from tests.support.tcp_proxy import TcpProxy
from tests.support.wait import stays, wait_until
from tests.user_svc.client import SERVICE, Client, code_of, ready_client

BACK = 5.0
"""Seconds within which a usable database that can be reached must be in use."""


@contextmanager
def service(pair: tuple[Database, Database], folder: Path) -> Iterator[tuple[Client, TcpProxy]]:
    """Lend a service that reaches the first database through a proxy."""
    first, _ = pair
    with (
        TcpProxy(first.server.port) as proxy,
        Process("user_svc", env={"DB_DSN": first.go_dsn_by(proxy.port)}, cwd=folder) as process,
        ready_client(process) as client,
    ):
        yield client, proxy


@contextmanager
def set_global(database: Database, name: str, value: str = "1") -> Iterator[None]:
    database.execute(f"SET GLOBAL {name} = {value}")
    try:
        yield
    finally:
        database.execute(f"SET GLOBAL {name} = DEFAULT")


def register(client: Client, name: str) -> grpc.StatusCode:
    try:
        client.register(name, timeout=5)
    except grpc.RpcError as error:
        return code_of(error)
    return grpc.StatusCode.OK


def refused(client: Client, name: str) -> Callable[[], bool]:
    return lambda: client.process.running and register(client, name) is grpc.StatusCode.UNAVAILABLE


def readyz(client: Client) -> str:
    return admin(client.process, "/readyz").text.strip()


@pytest.mark.parametrize("variable", ["read_only", "tx_read_only"])
def test_a_demoted_primary_is_left_for_its_successor(
    pair: tuple[Database, Database], tmp_path: Path, variable: str
) -> None:
    first, second = pair
    with service(pair, tmp_path) as (client, proxy):
        assert client.register("before").code == 200
        with set_global(first, variable):
            wait_until(lambda: "read-only" in readyz(client), BACK)
            hashes = client.metric("password_hash_seconds_count")
            stays(refused(client, "during"), 1.5)
            assert client.metric("password_hash_seconds_count") == hashes
            assert client.login("before").code == 200
            assert client.serves(SERVICE)
            assert client.serves("liveness")
            proxy.lead_to(second.server.port)
            wait_until(lambda: register(client, "after") is grpc.StatusCode.OK, BACK)
            assert readyz(client) == "ok"
        assert [row["username"] for row in second.execute("SELECT username FROM users")] == ["after"]
        assert client.metric("grpc_server_handled_total", grpc_code="INTERNAL", grpc_method="Register") == 0


def test_read_only_connections_are_replaced_every_second(pair: tuple[Database, Database], tmp_path: Path) -> None:
    first, _ = pair
    with service(pair, tmp_path) as (client, proxy):
        assert client.register("before").code == 200
        with set_global(first, "read_only"):
            wait_until(lambda: "read-only" in readyz(client), BACK)
            before = proxy.accepted
            stays(lambda: client.login("before").code == 200, 3)
            assert 2 <= proxy.accepted - before <= 10


def test_uncountable_wrong_passwords_get_no_answer(pair: tuple[Database, Database], tmp_path: Path) -> None:
    first, _ = pair
    with service(pair, tmp_path) as (client, _proxy):
        assert client.register("before").code == 200
        with set_global(first, "read_only"):
            wait_until(lambda: "read-only" in readyz(client), BACK)
            for username in ("before", "nobody"):
                with pytest.raises(grpc.RpcError) as refused:
                    client.login(username, "wrong-password")
                assert code_of(refused.value) is grpc.StatusCode.UNAVAILABLE
            assert client.login("before").code == 200


def test_a_primary_that_accepts_writes_again_is_used(pair: tuple[Database, Database], tmp_path: Path) -> None:
    first, _ = pair
    with service(pair, tmp_path) as (client, _proxy):
        with set_global(first, "read_only"):
            wait_until(lambda: "read-only" in readyz(client), BACK)
            assert refused(client, "during")()
        wait_until(lambda: register(client, "after") is grpc.StatusCode.OK, BACK)


def test_read_only_database_renews_no_hash(pair: tuple[Database, Database], tmp_path: Path) -> None:
    first, _ = pair
    with service(pair, tmp_path) as (client, _proxy):
        assert client.register("before").code == 200
    with set_global(first, "read_only"), TcpProxy(first.server.port) as proxy:
        env = {"DB_DSN": first.go_dsn_by(proxy.port), "BCRYPT_COST": "11"}
        with Process("user_svc", env=env, cwd=tmp_path) as process, ready_client(process) as client:
            assert client.login("before").code == 200
            process.terminate()  # ends after a renewal that was begun
            assert process.wait() == 0
            assert "not renewed" not in process.output
