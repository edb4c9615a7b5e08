"""Refreshes by way of several user services, some of which stop or are killed."""

import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from protos.user.v1 import user_pb2
from tests.support.mariadb import Database
from tests.support.process import Process
from tests.support.tcp_proxy import TcpProxy
from tests.support.wait import wait_until
from tests.user_svc.client import Client, ready_client
from tests.user_svc.sessions.chains import BEYOND_GRACE

STOPPED = 15.0
"""Seconds: longer than a refresh has, and than GRACE."""


@dataclass
class Fleet:
    """Services on one database, the first by way of a proxy."""

    clients: list[Client]
    proxy: TcpProxy
    database: Database
    session_id: bytes = b""

    def refresh(self, client: Client, serial: int, timeout: float = 6) -> user_pb2.RefreshSessionResponse:
        request = user_pb2.RefreshSessionRequest(session_id=self.session_id, serial=serial)
        return client.users.RefreshSession(request, timeout=timeout)

    def try_refresh(self, client: Client, serial: int) -> user_pb2.RefreshSessionResponse | None:
        try:
            return self.refresh(client, serial)
        except grpc.RpcError:
            return None

    def open(self, client: Client) -> bytes:
        session_id = secrets.token_bytes(16)
        login = client.login("alice")
        request = user_pb2.OpenSessionRequest(session_id=session_id, user_id=login.user_id, generation=login.generation)
        assert client.users.OpenSession(request, timeout=5).code == 200
        return session_id

    def wait(self) -> None:
        self.database.execute(f"UPDATE sessions SET rotated_at = rotated_at - {BEYOND_GRACE}")

    @property
    def state(self) -> tuple[int, int, bool]:
        """The serial, the one before, and whether the session has ended."""
        (row,) = self.database.execute("SELECT serial, previous, ended_at FROM sessions")
        return row["serial"], row["previous"], row["ended_at"] is not None


@pytest.fixture
def fleet(database: Database, tmp_path: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        proxy = stack.enter_context(TcpProxy(database.server.port))
        dsns = [database.go_dsn_by(proxy.port), database.go_dsn, database.go_dsn]
        processes = [stack.enter_context(Process("user_svc", env={"DB_DSN": each}, cwd=tmp_path)) for each in dsns]
        clients = [stack.enter_context(ready_client(process)) for process in processes]
        clients[0].register("alice")
        fleet = Fleet(clients, proxy, database)
        fleet.session_id = fleet.open(clients[0])
        yield fleet


def test_one_update_changes_a_row_for_twenty_refreshes(fleet: Fleet) -> None:
    fleet.wait()
    before = [client.metric("session_refreshes_total", result="rotated") for client in fleet.clients]
    request = user_pb2.RefreshSessionRequest(session_id=fleet.session_id, serial=1)
    calls = [fleet.clients[n % 3].users.RefreshSession.future(request, timeout=6) for n in range(20)]
    answers = [call.result() for call in calls]
    assert {(answer.code, answer.serial) for answer in answers} == {(200, 2)}
    after = [client.metric("session_refreshes_total", result="rotated") for client in fleet.clients]
    assert sum(after) - sum(before) == 1
    assert fleet.state == (2, 1, False)


@pytest.mark.faults
@pytest.mark.parametrize("request_of_database", [b"SELECT CAST(UNIX_TIMESTAMP", b"UPDATE sessions"])
def test_an_instance_stopped_in_a_refresh_voids_nothing(fleet: Fleet, request_of_database: bytes) -> None:
    stuck, other, _ = fleet.clients
    fleet.wait()
    hangs = fleet.proxy.hang_at(request_of_database, delivered=request_of_database.startswith(b"SELECT"))
    with ThreadPoolExecutor(1) as thread:
        lost = thread.submit(fleet.refresh, stuck, 1, 30)
        assert hangs.wait(10)
        stuck.process.suspend()
        stopped_at = time.monotonic()
        assert fleet.refresh(other, 1).serial == 2
        fleet.wait()
        fleet.proxy.flow()
        wait_until(lambda: time.monotonic() > stopped_at + STOPPED, STOPPED + 5)
        stuck.process.resume()
        with pytest.raises(grpc.RpcError):
            lost.result(30)
    assert fleet.state == (2, 1, False)
    answer = fleet.refresh(other, 2)
    assert (answer.code, answer.serial) == (200, 3)


def test_locked_rows_do_not_outlast_deadlines(fleet: Fleet) -> None:
    fleet.wait()
    lock = "SELECT * FROM sessions FOR UPDATE"
    with fleet.database.server.transaction(fleet.database.name, lock) as rollback:
        for client in fleet.clients:
            with pytest.raises(grpc.RpcError):
                fleet.refresh(client, 1)
        rollback()
    answer = wait_until(lambda: fleet.try_refresh(fleet.clients[1], 1))
    assert answer is not None
    assert fleet.state == (answer.serial, 1, False)
    fleet.wait()
    assert fleet.refresh(fleet.clients[1], answer.serial).serial == answer.serial + 1


def test_answers_lost_beyond_grace_are_recovered(fleet: Fleet) -> None:
    client = fleet.clients[1]
    fleet.wait()
    assert fleet.refresh(client, 1).serial == 2
    fleet.wait()
    fleet.wait()
    assert fleet.refresh(client, 1).serial == 3
    refused = fleet.refresh(client, 2)
    assert (refused.code, refused.refusal) == (401, user_pb2.RefreshSessionResponse.REUSED)
    assert fleet.state == (3, 1, True)


@pytest.mark.parametrize("delivered", [True, False])
def test_lost_connection_in_update_loses_no_session(fleet: Fleet, delivered: bool) -> None:
    fleet.wait()
    fleet.proxy.lose(b"UPDATE sessions", delivered=delivered)
    answer = wait_until(lambda: fleet.try_refresh(fleet.clients[0], 1))
    assert answer is not None
    assert (answer.code, answer.serial) == (200, 2)
    assert fleet.state == (2, 1, False)


def test_instances_killed_in_refreshes_lose_no_session(fleet: Fleet, tmp_path: Path) -> None:
    sessions = {fleet.session_id: 1} | {fleet.open(fleet.clients[1]): 1 for _ in range(19)}
    for milliseconds in (2, 5, 10, 20):
        with (
            Process("user_svc", env={"DB_DSN": fleet.database.go_dsn}, cwd=tmp_path) as process,
            ready_client(process) as client,
        ):
            fleet.wait()
            requests = [user_pb2.RefreshSessionRequest(session_id=id_, serial=n) for id_, n in sessions.items()]
            calls = [client.users.RefreshSession.future(request, timeout=6) for request in requests]
            time.sleep(milliseconds / 1000)  # one moment of many in the calls' time
            process.kill()
            for request, call in zip(requests, calls, strict=True):
                try:
                    answer = call.result()
                except grpc.RpcError:
                    answer = fleet.clients[2].users.RefreshSession(request, timeout=6)
                assert (answer.code, answer.serial) == (200, request.serial + 1)
                sessions[request.session_id] = answer.serial
    (row,) = fleet.database.execute("SELECT COUNT(*) AS ended FROM sessions WHERE ended_at IS NOT NULL")
    assert row["ended"] == 0
