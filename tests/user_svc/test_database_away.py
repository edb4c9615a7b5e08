"""A database that is unavailable, hangs, refuses, or is busy."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from protos.user.v1 import user_pb2
from tests.support.etcd import free_port
from tests.support.mariadb import PASSWORD as DB_PASSWORD
from tests.support.mariadb import Database, Server, server_binary
from tests.support.process import Process
from tests.support.wait import stays, wait_until
from tests.user_svc.client import PASSWORD, SERVICE, Client, code_of, ready_client

BACK = 5.0
"""Seconds after which the service must be itself again."""
DEADLINE = 5.0


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that the tests of this file may end, one after the other."""
    if server_binary() is None:
        pytest.skip("neither mariadbd nor mysqld is on the PATH")
    with Server.create(tmp_path_factory.mktemp("private")) as server:
        yield server


@pytest.fixture
def held(private: Server) -> Database:
    return private.database()


def outcome(client: Client) -> grpc.StatusCode:
    """What a login gets within the deadline that gateways set."""
    try:
        client.login("alice", timeout=DEADLINE)
    except grpc.RpcError as error:
        return code_of(error)
    return grpc.StatusCode.OK


def warnings(process: Process) -> list[str]:
    return [f"{line['message']} {line.get('cause')}" for line in process.records if line["level"] == "WARNING"]


def is_away(client: Client) -> None:
    """Check what everyone sees while the database is unavailable."""
    assert outcome(client) is grpc.StatusCode.UNAVAILABLE
    client.wait_until_not_serving(SERVICE)
    assert outcome(client) is grpc.StatusCode.UNAVAILABLE
    wait_until(lambda: client.process.records[-1].get("cause") == "NOT_ANSWERING")
    assert not client.serves("readiness")
    assert client.serves("liveness")
    assert client.metric("serving_status", service=SERVICE) == 0


def is_back(client: Client) -> None:
    """Wait until everyone sees that the database is back."""
    client.wait_until_serving(SERVICE, timeout=BACK)
    client.wait_until_serving("readiness", timeout=BACK)


def test_a_database_that_hangs(held: Database, tmp_path: Path) -> None:
    with (
        Process("user_svc", env={"DB_DSN": held.go_dsn}, cwd=tmp_path) as process,
        ready_client(process) as client,
    ):
        assert client.register("alice").code == 200
        held.server.suspend()
        try:
            is_away(client)
        finally:
            held.server.resume()
        is_back(client)
        assert outcome(client) is grpc.StatusCode.OK
        assert client.metric("grpc_server_handled_total", grpc_code="UNAVAILABLE", grpc_method="Login") == 2
        process.terminate()
        assert process.wait() == 0


def test_database_may_start_late_and_stop_again(held: Database, tmp_path: Path) -> None:
    held.server.kill()
    with Process("user_svc", env={"DB_DSN": held.url}, cwd=tmp_path) as process, Client(process) as client:
        try:
            assert "CR_CONN_HOST_ERROR" in process.wait_for("DB_DSN")["cause"]
            is_away(client)
        finally:
            held.server.start()
        is_back(client)
        assert client.register("alice").code == 200
        held.server.kill()
        try:
            is_away(client)
        finally:
            held.server.start()
        is_back(client)
        assert outcome(client) is grpc.StatusCode.OK
        process.terminate()
        assert process.wait() == 0


def test_each_cause_is_logged_once_without_secrets(held: Database, tmp_path: Path) -> None:
    user, wrong, right = f"u{free_port()}", "wr0ng-s3cret", "r1ght-s3cret"
    held.execute(f"CREATE USER '{user}'@'%' IDENTIFIED BY 'other'")
    env = {"DB_DSN": f"{user}@tcp(127.0.0.1:{held.server.port})/{held.name}", "DB_PASSWORD": right}
    with Process("user_svc", env=env, cwd=tmp_path) as process, Client(process) as client:
        wait_until(lambda: warnings(process))
        stays(lambda: len(warnings(process)) == 1, 1.5)
        held.execute(f"ALTER USER '{user}'@'%' IDENTIFIED BY '{right}'")
        wait_until(lambda: len(warnings(process)) == 2)
        held.execute(f"GRANT ALL ON `{held.name}`.* TO '{user}'@'%'")
        client.wait_until_serving("readiness", timeout=BACK)
        first, second = warnings(process)
        assert first.startswith("DB_DSN")
        assert "ER_ACCESS_DENIED_ERROR" in first
        assert second.startswith("DB_DSN")
        assert "ER_DBACCESS_DENIED_ERROR" in second
        for secret in (wrong, right, DB_PASSWORD):
            assert secret not in process.output


def test_waiting_for_the_database_takes_no_hash_slot(held: Database, tmp_path: Path) -> None:
    env = {"DB_DSN": held.go_dsn, "BCRYPT_COST": "14", "HASH_SLOTS": "1"}
    with (
        Process("user_svc", env=env, cwd=tmp_path) as process,
        ready_client(process) as client,
        held.server.locked(held.name, "users"),
    ):
        request = user_pb2.LoginRequest(username="alice", password=PASSWORD)
        calls = [client.users.Login.future(request, timeout=DEADLINE) for _ in range(10)]
        assert {code_of(call) for call in calls if call.exception()} == {grpc.StatusCode.UNAVAILABLE}
        assert client.metric("password_hash_rejected_total") == 0


def test_unwritable_sqlite_does_not_end_the_process(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Process("user_svc", env={"DATA_DIR": "file"}, cwd=tmp_path) as process, Client(process) as client:
        assert process.wait_for("DATA_DIR")["level"] == "WARNING"
        assert not client.serves("readiness")
        (tmp_path / "file").unlink()
        client.wait_until_serving("readiness", timeout=BACK)
