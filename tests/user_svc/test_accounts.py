"""Changes of passwords and deletions of accounts, as gateways call for them."""

import secrets
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos.user.v1 import user_pb2
from tests.support.mariadb import Database as Scratch
from tests.support.mariadb import Server
from tests.support.process import Process
from tests.support.tcp_proxy import COMMIT, TcpProxy
from tests.user_svc.client import PASSWORD, Client, code_of, ready_client
from user_svc.throttle import FREE

NEW = "ripe-avocado"
WRONG = "wrong-password"
CHANGED = "密码已修改，请重新登录"
Refusal = user_pb2.RefreshSessionResponse


@dataclass
class Service:
    """A service and a way past it to its database."""

    client: Client
    execute: Callable[[str], list[Any]]

    def user(self, name: str) -> int:
        answer = self.client.register(name)
        assert answer.code == 200
        return answer.user_id

    def open(self, user_id: int, generation: int = 0) -> bytes:
        session_id = secrets.token_bytes(16)
        request = user_pb2.OpenSessionRequest(session_id=session_id, user_id=user_id, generation=generation)
        assert self.client.users.OpenSession(request, timeout=5).code == 200
        return session_id

    def refresh(self, session_id: bytes) -> tuple[int, str, int]:
        request = user_pb2.RefreshSessionRequest(session_id=session_id, serial=1)
        answer = self.client.users.RefreshSession(request, timeout=6)
        return answer.code, answer.msg, answer.generation

    def change(
        self, user_id: int, current: str = PASSWORD, new: str = NEW, session_id: bytes = b"", **fields: Any
    ) -> user_pb2.ChangePasswordResponse:
        request = user_pb2.ChangePasswordRequest(
            user_id=user_id, current_password=current, new_password=new, session_id=session_id, **fields
        )
        return self.client.users.ChangePassword(request, timeout=20)

    def delete(self, user_id: int, password: str = PASSWORD) -> tuple[int, str]:
        request = user_pb2.DeleteAccountRequest(user_id=user_id, password=password)
        answer = self.client.users.DeleteAccount(request, timeout=10)
        return answer.code, answer.msg

    def revoked(self, user_id: int) -> list[tuple[int, bool, bool]]:
        """The generation, whether the user is disabled, and whether the entry stays, of each entry of the feed."""
        feed = self.client.users.ListRevocations(user_pb2.ListRevocationsRequest(), timeout=5)
        assert not feed.more
        rows = [(row.user, row.expires_at) for row in feed.revocations if row.user.user_id == user_id]
        return [(user.generation, user.disabled, expires_at == 0) for user, expires_at in rows]


@pytest.fixture(scope="module", params=["sqlite", "mariadb"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder: Path = tmp_path_factory.mktemp("accounts")
    env = {"LOG_LEVEL": "DEBUG"}
    execute: Callable[[str], list[Any]]
    if request.param == "mariadb":
        server: Server = request.getfixturevalue("mariadb")
        database = server.database()
        env["DB_DSN"] = database.go_dsn

        def execute(statement: str) -> list[Any]:
            return [tuple(row.values()) for row in database.execute(statement)]
    else:

        def execute(statement: str) -> list[Any]:
            with closing(sqlite3.connect(folder / ".data/users.db", timeout=10)) as connection, connection:
                return connection.execute(statement).fetchall()

    with Process("user_svc", env=env, cwd=folder) as process, ready_client(process) as client:
        yield Service(client, execute)


def test_a_password_change_ends_all_but_one_session(service: Service, name: str) -> None:
    user_id = service.user(name)
    mine, other = service.open(user_id), service.open(user_id)
    answer = service.change(user_id, session_id=mine)
    assert answer == user_pb2.ChangePasswordResponse(code=200, msg="密码修改成功", generation=1)
    assert service.refresh(mine) == (200, "刷新成功", 1)
    assert service.refresh(other) == (401, CHANGED, 0)
    assert service.revoked(user_id) == [(1, False, False)]
    assert service.client.login(name).code == 401
    login = service.client.login(name, NEW)
    assert (login.code, login.generation) == (200, 1)


def test_a_password_change_without_a_session_ends_all(service: Service, name: str) -> None:
    user_id = service.user(name)
    other = service.open(user_id)
    assert service.change(user_id).generation == 1
    assert service.refresh(other) == (401, CHANGED, 0)
    assert service.change(user_id, NEW, PASSWORD + "-4-avocados").generation == 2


def test_sessions_of_other_users_are_refused(service: Service, name: str) -> None:
    user_id, stranger = service.user(name), service.user(f"{name[:-1]}x")
    session_id = service.open(stranger)
    service.execute("UPDATE sessions SET rotated_at = rotated_at - 60000")
    assert service.change(user_id, session_id=session_id).code == 200
    assert service.refresh(session_id) == (200, "刷新成功", 0)
    assert service.revoked(stranger) == []


def test_a_wrong_current_password_changes_nothing(service: Service, name: str) -> None:
    user_id = service.user(name)
    session_id = service.open(user_id)
    before = service.client.metric("password_changes_total", result="denied")
    answer = service.change(user_id, WRONG)
    assert answer == user_pb2.ChangePasswordResponse(code=403, msg="当前密码错误")
    assert service.delete(user_id, WRONG) == (403, "当前密码错误")
    assert service.refresh(session_id) == (200, "刷新成功", 0)
    assert service.client.login(name).generation == 0
    assert service.client.metric("password_changes_total", result="denied") == before + 1


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"user_id": 0}, "user_id: 必须是正整数"),
        ({"current": "12345"}, "current_password: 至少 6 个字符"),
        ({"session_id": b"short"}, "session_id: 必须是 16 字节"),
        ({"new": "1234567"}, "new_password: 至少 8 个字符"),
        ({"new": PASSWORD}, "new_password: 不能与当前密码相同"),
        ({"new": "woaini1314"}, "new_password: 过于常见，容易被猜到"),
    ],
)
def test_invalid_fields_are_refused_without_a_hash(
    service: Service, name: str, fields: dict[str, Any], says: str
) -> None:
    user_id = service.user(name)
    hashes = service.client.metric("password_hash_seconds_count")
    answer = service.change(**{"user_id": user_id, **fields})
    assert answer == user_pb2.ChangePasswordResponse(code=400, msg=f"参数错误: {says}")
    assert service.client.metric("password_hash_seconds_count") == hashes


def test_new_passwords_match_in_any_unicode_form(service: Service, name: str) -> None:
    composed, decomposed = "p\xe4lmen-gr\xfcn", "pa\u0308lmen-gru\u0308n"
    user_id = service.user(name)
    assert service.change(user_id, new=decomposed).code == 200
    assert [service.client.login(name, each).code for each in (composed, decomposed)] == [200, 200]
    assert service.change(user_id, decomposed, composed).code == 400
    assert service.change(user_id, decomposed, NEW).code == 200


@pytest.mark.parametrize("change", ["disabled_at = '2026-01-01 00:00:00'", "deleted_at = '2026-01-01 00:00:00'"])
def test_users_who_are_out_change_nothing(service: Service, name: str, change: str) -> None:
    user_id = service.user(name)
    service.execute(f"UPDATE users SET {change} WHERE id = {user_id}")
    assert service.change(user_id).code == 401
    assert service.delete(user_id) == (401, "登录已过期，请重新登录")
    assert service.change(2**62).code == 401


def test_of_two_changes_at_once_one_is_made(service: Service, name: str) -> None:
    user_id = service.user(name)
    with ThreadPoolExecutor(2) as threads:
        news = [f"{NEW}-{number}" for number in range(2)]
        codes = list(threads.map(lambda new: service.change(user_id, new=new).code, news))
    assert sorted(codes) == [200, 403]
    made = news[codes.index(200)]
    assert [service.client.login(name, new).code for new in news] == [200 if new == made else 401 for new in news]
    assert service.execute(f"SELECT generation FROM users WHERE id = {user_id}") == [(1,)]


def test_a_hash_renewed_meanwhile_refuses_no_change(tmp_path: Path) -> None:
    cheap, dear = {"BCRYPT_COST": "10"}, {"BCRYPT_COST": "12", "HASH_SLOTS": "2"}
    with Process("user_svc", env=cheap, cwd=tmp_path) as process, ready_client(process) as client:
        user_id = client.register("alice").user_id
    with Process("user_svc", env=dear, cwd=tmp_path) as process, ready_client(process) as client:
        service = Service(client, lambda _: [])
        for number in range(3):
            assert client.login("alice", PASSWORD if not number else f"{NEW}-{number - 1}").code == 200
            assert (
                service.change(user_id, PASSWORD if not number else f"{NEW}-{number - 1}", f"{NEW}-{number}").code
                == 200
            )


def test_guesses_at_any_of_the_three_count_together(service: Service, name: str) -> None:
    user_id = service.user(name)
    for number in range(FREE):
        if number % 3 == 0:
            assert service.change(user_id, WRONG).code == 403
        elif number % 3 == 1:
            assert service.delete(user_id, WRONG)[0] == 403
        else:
            assert service.client.login(name, WRONG).code == 401
    service.execute("UPDATE login_failures SET last_at = last_at + 3600000")
    for attempt in (
        lambda: service.change(user_id),
        lambda: service.delete(user_id),
        lambda: service.client.login(name),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            attempt()
        assert code_of(refused.value) is grpc.StatusCode.RESOURCE_EXHAUSTED
    device = user_pb2.Device(user_id=user_id, generation=0, id=b"phone")
    assert service.change(user_id, device=device).code == 200
    service.execute("DELETE FROM login_failures")


def test_deleted_account_keeps_its_name_taken(service: Service, name: str) -> None:
    user_id = service.user(name)
    session_id = service.open(user_id)
    before = service.client.metric("accounts_deleted_total")
    assert service.delete(user_id) == (200, "账号已注销")
    assert service.delete(user_id) == (401, "登录已过期，请重新登录")
    assert service.refresh(session_id) == (401, "无效的刷新凭证", 0)
    assert service.client.login(name).code == 401
    assert service.client.register(name).code == 409
    assert service.revoked(user_id) == [(1, True, True)]
    assert service.client.metric("accounts_deleted_total") == before + 1
    # as the Go system's ORM looks a user up
    assert service.execute(f"SELECT * FROM users WHERE username = '{name}' AND users.deleted_at IS NULL LIMIT 1") == []
    assert service.execute(f"SELECT password FROM users WHERE id = {user_id}") == [("!",)]


def test_no_password_reaches_a_log(service: Service, name: str) -> None:
    user_id = service.user(name)
    secret = [f"{kind}-s3cr3t-avocado" for kind in ("wrong", "new", "short")]
    service.change(user_id, secret[0], secret[1])
    service.change(user_id, PASSWORD, secret[1])
    service.change(user_id, secret[1], "12" + secret[2] * 3)
    service.delete(user_id, secret[0])
    assert not [each for each in secret if each in service.client.process.output]


@pytest.mark.parametrize(
    ("step", "is_made"),
    [
        (b"UPDATE users", False),
        (b"UPDATE sessions SET generation", False),
        (b"UPDATE sessions SET ended_at", False),
        (b"INSERT INTO revocations", False),
        (COMMIT, False),
        (COMMIT, True),
    ],
    ids=["password", "generation", "sessions", "revocation", "before the commit", "after the commit"],
)
def test_kill_during_change_leaves_all_or_nothing(
    database: Scratch, tmp_path: Path, step: bytes, is_made: bool
) -> None:
    with (
        TcpProxy(database.server.port) as proxy,
        Process("user_svc", env={"DB_DSN": database.go_dsn_by(proxy.port)}, cwd=tmp_path) as process,
        ready_client(process) as client,
        ThreadPoolExecutor(1) as thread,
    ):
        service = Service(client, lambda _: [])
        user_id = service.user("alice")
        mine, other = service.open(user_id), service.open(user_id)
        hangs = proxy.hang_at(step, delivered=is_made)
        lost = thread.submit(service.change, user_id, session_id=mine)
        assert hangs.wait(10)
        process.kill()
        with pytest.raises(grpc.RpcError):
            lost.result(30)
        proxy.shut()  # before anything that is held back could arrive
    with (
        Process("user_svc", env={"DB_DSN": database.go_dsn}, cwd=tmp_path) as process,
        ready_client(process) as client,
    ):
        service = Service(client, lambda _: [])
        right, wrong = (NEW, PASSWORD) if is_made else (PASSWORD, NEW)
        assert client.login("alice", right).code == 200
        assert client.login("alice", wrong).code == 401
        assert service.revoked(user_id) == ([(1, False, False)] if is_made else [])
        assert service.refresh(mine) == (200, "刷新成功", 1 if is_made else 0)
        assert service.refresh(other)[0] == (401 if is_made else 200)
