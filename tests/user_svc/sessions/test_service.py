"""The RPCs of sessions, as a gateway calls them."""

import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from protos.user.v1 import user_pb2
from tests.support.mariadb import Server
from tests.support.process import Process
from tests.support.wait import wait_until
from tests.user_svc.client import Client, code_of, ready_client
from tests.user_svc.sessions.chains import BEYOND_GRACE
from user_svc.sessions.rules import Ending

Refusal = user_pb2.RefreshSessionResponse


@dataclass
class Service:
    """A service and a way past it to its database."""

    client: Client
    execute: Callable[[str], object]

    def log_in(self, name: str) -> user_pb2.LoginResponse:
        self.client.register(name)
        return self.client.login(name)

    def open(self, login: user_pb2.LoginResponse) -> bytes:
        session_id = secrets.token_bytes(16)
        request = user_pb2.OpenSessionRequest(
            session_id=session_id, user_id=login.user_id, generation=login.generation, device="phone"
        )
        answer = self.client.users.OpenSession(request, timeout=5)
        assert answer == user_pb2.OpenSessionResponse(code=200, msg="登录成功", serial=1, refresh_expires_in=14 * 86400)
        return session_id

    def refresh(self, session_id: bytes, serial: int) -> user_pb2.RefreshSessionResponse:
        request = user_pb2.RefreshSessionRequest(session_id=session_id, serial=serial)
        return self.client.users.RefreshSession(request, timeout=6)

    def end(self, **fields: object) -> int:
        return self.client.users.EndSession(user_pb2.EndSessionRequest(**fields), timeout=5).code  # type: ignore[arg-type]

    def feed(self, position: tuple[int, int] = (0, 0)) -> user_pb2.ListRevocationsResponse:
        request = user_pb2.ListRevocationsRequest(after_at=position[0], after_id=position[1])
        return self.client.users.ListRevocations(request, timeout=5)

    def wait(self, milliseconds: int = BEYOND_GRACE) -> None:
        self.execute(f"UPDATE sessions SET rotated_at = rotated_at - {milliseconds}")


@pytest.fixture(scope="module", params=["sqlite", "mariadb"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder: Path = tmp_path_factory.mktemp("sessions")
    env = {"LOG_LEVEL": "DEBUG"}
    execute: Callable[[str], object]
    if request.param == "mariadb":
        server: Server = request.getfixturevalue("mariadb")
        database = server.database()
        env["DB_DSN"] = database.go_dsn
        execute = database.execute
    else:

        def execute(statement: str) -> object:
            with closing(sqlite3.connect(folder / ".data/users.db", timeout=10)) as connection, connection:
                return connection.execute(statement).fetchall()

    with Process("user_svc", env=env, cwd=folder) as process, ready_client(process) as client:
        yield Service(client, execute)


def test_a_session_from_login_to_logout(service: Service, name: str) -> None:
    login = service.log_in(name)
    session_id = service.open(login)
    first = service.refresh(session_id, 1)
    assert (first.code, first.msg, first.serial, first.user_id, first.username, first.generation) == (
        *(200, "刷新成功", 1),
        *(login.user_id, name, login.generation),
    )
    assert 14 * 86400 - 60 < first.refresh_expires_in <= 14 * 86400
    service.wait()
    assert [service.refresh(session_id, serial).serial for serial in (1, 1, 2)] == [2, 2, 2]
    listed = service.client.users.ListSessions(user_pb2.ListSessionsRequest(user_id=login.user_id), timeout=5).sessions
    (row,) = listed
    assert (row.session_id, row.device) == (session_id, "phone")
    assert abs(row.created_at / 1000 - time.time()) < 60
    assert row.created_at <= row.used_at
    assert row.expires_at == row.used_at + 14 * 86400_000
    assert service.end(session_id=session_id, user_id=login.user_id + 1) == 404
    assert [service.end(session_id=session_id, user_id=each) for each in (login.user_id, 0)] == [200, 200]
    refused = service.refresh(session_id, 2)
    assert refused == user_pb2.RefreshSessionResponse(code=401, msg="已退出登录", refusal=Refusal.ENDED)


def test_what_is_revoked_is_fed_to_gateways(service: Service, name: str) -> None:
    login = service.log_in(name)
    session_id, token = service.open(login), secrets.token_bytes(16)
    begin = service.feed().now
    position = (begin - 1, 0)
    expiry = int(time.time()) + 86400
    assert service.end(session_id=session_id, user_id=login.user_id) == 200
    access_token = user_pb2.EndSessionRequest.AccessToken(id=token, expires_at=expiry)
    eternal = user_pb2.EndSessionRequest.AccessToken(id=token, expires_at=2**63 - 1)
    assert service.end(access_token=access_token, user_id=login.user_id) == 200
    assert service.end(access_token=eternal, user_id=login.user_id) == 200
    request = user_pb2.EndAllSessionsRequest(user_id=login.user_id)
    everything = service.client.users.EndAllSessions(request, timeout=5)
    assert everything == user_pb2.EndAllSessionsResponse(
        code=200, msg="已退出所有设备", generation=login.generation + 1
    )
    feed = service.feed(position)
    assert not feed.more
    assert [entry.ended_id for entry in feed.revocations] == [session_id, token, token, b""]
    *_, last = feed.revocations
    assert last.user == user_pb2.ListRevocationsResponse.User(user_id=login.user_id, generation=login.generation + 1)
    assert begin <= last.at <= feed.now
    assert feed.revocations[1].expires_at >= expiry
    assert [service.feed((entry.at, entry.id)).revocations[:1] for entry in feed.revocations[:3]] == [
        [entry] for entry in feed.revocations[1:]
    ]
    assert service.client.login(name).generation == login.generation + 1


def test_ending_an_unknown_session_is_404(service: Service) -> None:
    assert service.end(session_id=bytes(16)) == 404
    request = user_pb2.EndAllSessionsRequest(user_id=2**40)
    assert service.client.users.EndAllSessions(request, timeout=5).code == 404
    listed = service.client.users.ListSessions(user_pb2.ListSessionsRequest(user_id=-1), timeout=5)
    assert not listed.sessions


def test_disabled_user_is_told_after_right_password(service: Service, name: str) -> None:
    login = service.log_in(name)
    session_id = service.open(login)
    service.execute(f"UPDATE users SET disabled_at = '2026-01-01 00:00:00' WHERE username = '{name}'")
    assert service.client.login(name) == user_pb2.LoginResponse(code=401, msg="密码错误", disabled=True)
    assert service.client.login(name, "wrong password") == user_pb2.LoginResponse(code=401, msg="密码错误")
    refused = service.refresh(session_id, 1)
    assert refused == user_pb2.RefreshSessionResponse(code=401, msg="账号已停用", refusal=Refusal.DISABLED)


def test_a_session_needs_the_generation_of_its_login(service: Service, name: str) -> None:
    login = service.log_in(name)
    service.client.users.EndAllSessions(user_pb2.EndAllSessionsRequest(user_id=login.user_id), timeout=5)
    request = user_pb2.OpenSessionRequest(
        session_id=secrets.token_bytes(16), user_id=login.user_id, generation=login.generation
    )
    assert service.client.users.OpenSession(request, timeout=5).code == 401


@pytest.mark.parametrize("length", [0, 15, 17])
def test_ids_of_another_length_are_refused(service: Service, length: int) -> None:
    wrong = bytes(length)
    users = service.client.users
    token = user_pb2.EndSessionRequest.AccessToken(id=wrong)
    for answer in (
        users.OpenSession(user_pb2.OpenSessionRequest(session_id=wrong, user_id=1), timeout=5),
        users.RefreshSession(user_pb2.RefreshSessionRequest(session_id=wrong, serial=1), timeout=5),
        users.EndSession(user_pb2.EndSessionRequest(session_id=wrong), timeout=5),
        users.EndSession(user_pb2.EndSessionRequest(access_token=token, user_id=1), timeout=5),
    ):
        assert (answer.code, answer.msg.endswith("必须是 16 字节")) == (400, True)


def test_labels_and_users_out_of_bounds_are_refused(service: Service) -> None:
    for fields in ({"device": "x" * 65, "user_id": 1}, {"user_id": 0}, {"user_id": -1}):
        request = user_pb2.OpenSessionRequest(session_id=bytes(16), **fields)
        assert service.client.users.OpenSession(request, timeout=5).code == 400
    token = user_pb2.EndSessionRequest.AccessToken(id=bytes(16), expires_at=1)
    assert service.end(access_token=token) == 400


@pytest.mark.parametrize("serial", [0, 2, 2**32 - 1])
def test_a_serial_that_never_was_changes_nothing(service: Service, name: str, serial: int) -> None:
    session_id = service.open(service.log_in(name))
    refused = service.refresh(session_id, serial)
    assert refused == user_pb2.RefreshSessionResponse(code=401, msg="无效的刷新凭证", refusal=Refusal.UNKNOWN)
    assert service.refresh(session_id, 1).code == 200


def test_events_of_sessions_are_counted(service: Service, name: str) -> None:
    def counts() -> list[float]:
        metric = service.client.metric
        results = ("rotated", "repeated", "recovered", "reused", "reused_before", "unknown")
        reasons = ("logout", "logout_all", "reused")
        return [
            metric("sessions_opened_total"),
            *(metric("session_refreshes_total", result=each) for each in results),
            *(metric("sessions_ended_total", reason=each) for each in reasons),
        ]

    login = service.log_in(name)
    before = counts()
    stolen, *others = [service.open(login) for _ in range(4)]
    for serial in (1, 1, 2):
        service.wait()
        service.refresh(stolen, serial)
    for serial in (9, 1, 3, 2):
        service.refresh(stolen, serial)
    service.end(session_id=others[0], user_id=login.user_id)
    service.client.users.EndAllSessions(user_pb2.EndAllSessionsRequest(user_id=login.user_id), timeout=5)
    changes = [after - earlier for after, earlier in zip(counts(), before, strict=True)]
    assert changes == [4, 1, 0, 1, 1, 3, 1, 1, 2, 1]


def test_polls_of_the_feed_are_logged_at_debug(service: Service) -> None:
    service.feed()
    (line, *_) = wait_until(
        lambda: [each for each in service.client.process.records if each.get("method") == "ListRevocations"]
    )
    assert line["level"] == "DEBUG"


def test_only_audit_lines_show_a_session_s_prefix(service: Service, name: str) -> None:
    session_id = service.open(service.log_in(name))
    service.refresh(session_id, 1)
    service.end(session_id=session_id)
    output = service.client.process.output
    assert session_id.hex()[:10] not in output
    assert repr(session_id)[2:10] not in output
    lines = [line for line in output.splitlines() if session_id.hex()[:8] in line]
    assert {json.loads(line)["logger"] for line in lines} == {"user_svc.audit"}


def test_session_series_exist_from_the_start(tmp_path: Path) -> None:
    with Process("user_svc", cwd=tmp_path) as process, ready_client(process) as client:
        text = client.metrics()
    assert "\nsessions_opened_total 0.0" in text
    assert text.count("\nsession_refreshes_total{") == 10
    assert text.count("\nsessions_ended_total{") == len(Ending) - 1  # users are disabled by a command alone


def test_sessions_are_refused_at_once_without_a_database(tmp_path: Path, name: str) -> None:
    with Process("user_svc", cwd=tmp_path) as process, ready_client(process) as client:
        (tmp_path / ".data" / "users.db").write_bytes(b"no database" * 1000)
        client.wait_until_not_serving("readiness")
        with pytest.raises(grpc.RpcError) as refused:
            client.users.RefreshSession(user_pb2.RefreshSessionRequest(session_id=bytes(16), serial=1), timeout=5)
        assert code_of(refused.value) is grpc.StatusCode.UNAVAILABLE
