"""What callers of user.v1.UserService, and those who watch it, get to see."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import bcrypt
import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from protos.user.v1 import user_pb2
from tests.support.mariadb import Server
from tests.support.process import Process
from tests.support.wait import wait_until
from tests.user_svc.client import PASSWORD, SERVICE, Client, code_of, ready_client

CANARY = "C4n4ry-pa55word"

TAKEN = user_pb2.RegisterResponse(code=409, msg="用户名已存在")
DENIED = user_pb2.LoginResponse(code=401, msg="密码错误")


@pytest.fixture(scope="module", params=["sqlite", "mariadb"])
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A service on each kind of database."""
    env = {}
    if request.param == "mariadb":
        server: Server = request.getfixturevalue("mariadb")
        env["DB_DSN"] = server.database().go_dsn
    with (
        Process("user_svc", env=env, cwd=tmp_path_factory.mktemp("either")) as process,
        ready_client(process) as client,
    ):
        yield client


def records(client: Client, **fields: object) -> list[dict[str, Any]]:
    return [record for record in client.process.records if fields.items() <= record.items()]


def test_register_and_login(either: Client) -> None:
    answer = either.register("TestUser123")
    assert answer == user_pb2.RegisterResponse(code=200, msg="注册成功", user_id=answer.user_id)
    assert answer.user_id > 0
    assert either.register("testuser123") == TAKEN
    assert either.login("TESTUSER123") == user_pb2.LoginResponse(
        code=200, msg="登录成功", user_id=answer.user_id, username="TestUser123", generation=0
    )
    assert either.login("testuser123", "password124") == DENIED
    assert either.login("testuser124") == DENIED


def test_fifty_at_once_want_one_name(either: Client) -> None:
    calls = [
        either.users.Register.future(user_pb2.RegisterRequest(username=each, password=PASSWORD), timeout=30)
        for each in ["racer", "Racer", "RACER", "rAcEr", "raceR"] * 10
    ]
    answers = [call.result() for call in calls]
    assert Counter(answer.code for answer in answers) == {200: 1, 409: 49}
    (winner,) = (answer for answer in answers if answer.code == 200)
    assert winner.user_id == either.login("racer").user_id


@pytest.mark.parametrize(
    ("username", "password", "says"),
    [
        ("", PASSWORD, "username: 至少 3 个字符"),
        ("ab", PASSWORD, "username: 至少 3 个字符"),
        ("a" * 21, PASSWORD, "username: 至多 20 个字符"),
        ("alice\n", PASSWORD, "username: 只能包含字母、数字和下划线"),
        ("al ice", PASSWORD, "username: 只能包含字母、数字和下划线"),
        ("alicé", PASSWORD, "username: 只能包含字母、数字和下划线"),
        ("ali\0ce", PASSWORD, "username: 只能包含字母、数字和下划线"),
        ("１２３", PASSWORD, "username: 只能包含字母、数字和下划线"),
        ("alice", "", "password: 至少 6 个字符"),
        ("alice", "12345", "password: 至少 6 个字符"),
        ("alice", "1" * 33, "password: 至多 32 个字符"),
        ("alice", "密" * 25, "password: UTF-8 编码后不能超过 72 字节，且不能包含 NUL 字符"),
        ("alice", "1234\x0056", "password: UTF-8 编码后不能超过 72 字节，且不能包含 NUL 字符"),
    ],
)
def test_a_field_that_breaks_the_contract(shared: Client, username: str, password: str, says: str) -> None:
    msg = f"参数错误: {says}"
    assert shared.register(username, password) == user_pb2.RegisterResponse(code=400, msg=msg)
    assert shared.login(username, password) == user_pb2.LoginResponse(code=400, msg=msg)


@pytest.mark.parametrize("password", ["123456", "1" * 32, "密" * 24, "pass word\n"])
def test_the_bounds_belong_to_the_contract(shared: Client, name: str, password: str) -> None:
    assert shared.register(name, password).code == 200
    assert shared.login(name, password).code == 200
    assert shared.login(name, password[:-1] + "x").code == 401


def test_a_request_far_too_long_is_refused(shared: Client) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        shared.login("alice", "x" * 20_000)
    assert code_of(refused.value) is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("metadata", "trace_id"),
    [
        ([("x-trace-id", "client.trace-1")], "client.trace-1"),
        ([("traceparent", f"00-{'ab' * 16}-{'cd' * 8}-01")], "ab" * 16),
        ([("x-trace-id", "both"), ("traceparent", f"00-{'ab' * 16}-{'cd' * 8}-01")], "both"),
    ],
)
def test_calls_log_one_line_with_trace_id(
    shared: Client, name: str, metadata: list[tuple[str, str]], trace_id: str
) -> None:
    before = len(records(shared, trace_id=trace_id))
    shared.register(name, "short", metadata=metadata)
    wait_until(lambda: len(records(shared, trace_id=trace_id)) > before)
    (line,) = records(shared, trace_id=trace_id)[before:]
    assert (line["method"], line["code"], line["result"], line["level"]) == ("Register", "OK", 400, "INFO")
    assert line["duration"] >= 0


def test_lines_that_are_always_logged_name_the_caller(shared: Client, name: str) -> None:
    def line(result: int) -> dict[str, Any]:
        return wait_until(lambda: records(shared, trace_id=name, result=result))[0]

    for _ in range(2):
        shared.register(name, metadata=[("x-trace-id", name)])
    assert "peer" not in line(200)
    assert line(409)["peer"] == "127.0.0.1"


def test_a_malformed_trace_id_is_replaced(shared: Client, name: str) -> None:
    before = len(records(shared, method="Register"))
    shared.register(name, "short", metadata=[("x-trace-id", "no trace id")])
    last = wait_until(lambda: records(shared, method="Register")[before:])[-1]
    assert len(last["trace_id"]) == 32


def test_no_password_or_name_leaves_the_service(tmp_path: Path) -> None:
    env = {"LOG_LEVEL": "DEBUG"}
    with Process("user_svc", env=env, cwd=tmp_path) as process, ready_client(process) as client:
        client.register("canary_user", CANARY)
        client.register("canary_user", CANARY)
        client.login("canary_user", CANARY)
        client.login("canary_user", CANARY + "x")
        client.login("canary_user", CANARY * 5)
        client.login("canary user", CANARY)
        metrics = client.metrics()
        with closing(sqlite3.connect(tmp_path / ".data/users.db")) as database:
            (stored,) = database.execute("SELECT password FROM users").fetchone()
            database.execute("DROP TABLE users")
        with pytest.raises(grpc.RpcError) as failed:
            client.login("canary_user", CANARY)
        process.terminate()
        assert process.wait() == 0
        for secret in (CANARY, stored, "canary_user", "canary user"):
            assert secret not in process.output
            assert secret not in metrics
            assert secret not in str(failed.value)


def test_every_query_line_has_the_trace_id(shared: Client, name: str) -> None:
    shared.register(name, metadata=[("x-trace-id", name)])
    wait_until(lambda: records(shared, method="Register", trace_id=name))
    queries = [record["query"] for record in records(shared, trace_id=name, message="query")]
    assert queries == ["is_taken", "add"]


def test_metrics_of_calls(shared: Client, name: str) -> None:
    def counts() -> dict[str, float]:
        call = {"grpc_service": SERVICE, "grpc_method": "Login"}
        return {
            "handled": shared.metric("grpc_server_handled_total", **call, grpc_code="OK"),
            "timed": shared.metric("grpc_server_handling_seconds_count", **call),
            "hashed": shared.metric("password_hash_seconds_count"),
            "queried": shared.metric("db_query_duration_seconds_count"),
            "invalid": shared.metric("logins_total", result="invalid"),
            "denied": shared.metric("logins_total", result="denied"),
            "success": shared.metric("logins_total", result="success"),
            "created": shared.metric("registrations_total", result="created"),
            "duplicate": shared.metric("registrations_total", result="duplicate"),
            "unregistrable": shared.metric("registrations_total", result="invalid"),
        }

    before = counts()
    shared.register(name)
    shared.register(name)
    shared.register(name, "short")
    shared.login(name)
    shared.login(name, "wrong password")
    shared.login(name, "short")
    wait_until(lambda: counts()["handled"] == before["handled"] + 3)
    changes = {key: after - before[key] for key, after in counts().items()}
    assert changes == {
        "handled": 3,
        "timed": 3,
        "hashed": 3,
        "queried": 10,
        "invalid": 1,
        "denied": 1,
        "success": 1,
        "created": 1,
        "duplicate": 1,
        "unregistrable": 1,
    }


def test_every_metric_is_there_from_the_start(tmp_path: Path) -> None:
    with Process("user_svc", cwd=tmp_path) as process, ready_client(process) as client:
        client.wait_until_serving("readiness")
        wait_until(lambda: client.metric("serving_status", service="readiness") == 1)
        wait_until(
            lambda: client.metric("db_pool_connections", state="in_use") == 0
        )  # the stored costs are read at the start
        text = client.metrics()
    for series in (
        *(
            f'grpc_server_handling_seconds_count{{grpc_method="{each}",grpc_service="{SERVICE}"}} 0.0'
            for each in ("Register", "Login")
        ),
        *(f'logins_total{{result="{each}"}} 0.0' for each in ("success", "denied", "invalid")),
        *(f'registrations_total{{result="{each}"}} 0.0' for each in ("created", "duplicate", "invalid")),
        *(f'serving_status{{service="{each}"}} 1.0' for each in ("readiness", "liveness", SERVICE)),
        "password_hash_seconds_count 0.0",
        "password_hash_queue_depth 0.0",
        "password_hash_rejected_total 0.0",
        'db_pool_connections{state="in_use"} 0.0',
        'db_pool_connections{state="idle"} ',
        "db_query_duration_seconds_count ",
        "build_info{",
    ):
        assert f"\n{series}" in text
    assert "_created" not in text
    assert "registry_lease_held" not in text


def test_health_names(shared: Client) -> None:
    assert all(shared.serves(each) for each in ("", "liveness", "readiness", SERVICE))
    with pytest.raises(grpc.RpcError) as unknown:
        shared.serves("nobody")
    assert code_of(unknown.value) is grpc.StatusCode.NOT_FOUND
    assert len(records(shared, method="Check")) == 0


def test_watchers_take_no_threads(shared: Client, name: str) -> None:
    with ExitStack() as stack:
        for _ in range(200):
            watch = shared.health.Watch(health_pb2.HealthCheckRequest(service="readiness"), timeout=60)
            stack.callback(watch.cancel)
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        assert shared.serves("liveness")
        assert shared.register(name).code == 200


def test_reflection(shared: Client) -> None:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(shared.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=10)
    assert {service.name for service in answer.list_services_response.service} >= {SERVICE, "grpc.health.v1.Health"}


def test_reflection_can_be_turned_off(tmp_path: Path) -> None:
    env = {"GRPC_REFLECTION": "false"}
    with Process("user_svc", env=env, cwd=tmp_path) as process, ready_client(process) as client:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(client.channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        with pytest.raises(grpc.RpcError) as refused:
            list(stub.ServerReflectionInfo(iter([request]), timeout=10))
        assert code_of(refused.value) is grpc.StatusCode.UNIMPLEMENTED
        assert client.register("alice").code == 200


@pytest.mark.parametrize("cost", [4, 11])
def test_another_cost_is_replaced_after_a_login(shared: Client, name: str, cost: int) -> None:
    old = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(cost, b"2a")).decode()
    with closing(sqlite3.connect(shared.process.cwd / ".data/users.db")) as database:

        def stored() -> str:
            (value,) = database.execute("SELECT password FROM users WHERE username = ?", [name]).fetchone()
            return str(value)

        with database:
            database.execute("INSERT INTO users (username, password) VALUES (?, ?)", [name, old])
        assert shared.login(name, "wrong password").code == 401
        assert shared.login(name).code == 200
        wait_until(lambda: stored() != old)
        assert stored().startswith("$2b$10$")
        assert shared.login(name).code == 200


def test_refusals_cost_what_the_slowest_stored_hash_does(tmp_path: Path, name: str) -> None:
    with Process("user_svc", cwd=tmp_path) as process, ready_client(process) as client:
        assert client.register(name).code == 200
    slow = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(11)).decode()
    with closing(sqlite3.connect(tmp_path / ".data/users.db")) as database, database:
        database.execute("UPDATE users SET password = ?", [slow])
    with Process("user_svc", cwd=tmp_path) as process, ready_client(process) as client:
        process.wait_for("refusals take as long as a hash of cost 11")
        assert client.login(name).code == 200


def test_a_hash_that_would_take_days_is_unusable(shared: Client, name: str) -> None:
    with closing(sqlite3.connect(shared.process.cwd / ".data/users.db")) as database, database:
        database.execute("INSERT INTO users (username, password) VALUES (?, ?)", [name, "$2b$31$" + "a" * 53])
    assert shared.login(name) == DENIED


def test_a_password_typed_in_decomposed_characters_matches(shared: Client, name: str) -> None:
    composed, decomposed = "p\xe4ssword\u1e69", "pa\u0308sswords\u0323\u0307"

    def checks(username: str, password: str) -> tuple[int, float]:
        before = shared.metric("password_hash_seconds_count")
        return shared.login(username, password).code, shared.metric("password_hash_seconds_count") - before

    assert shared.register(name, composed).code == 200
    assert checks(name, composed) == (200, 1)
    assert checks(name, decomposed) == (200, 2)
    assert checks(name, decomposed + "x") == (401, 2)
    assert checks("nobody_at_all", decomposed) == (401, 2)
    assert checks("nobody_at_all", composed) == (401, 1)

    other = f"{name[:-1]}x"
    assert shared.register(other, decomposed).code == 200
    assert checks(other, decomposed) == (200, 1)
    assert checks(other, composed) == (401, 1)


def test_the_users_are_kept_over_restarts(tmp_path: Path, name: str) -> None:
    with Process("user_svc", cwd=tmp_path) as process, ready_client(process) as client:
        assert client.register(name).code == 200
        process.kill()
        process.wait()
    with Process("user_svc", cwd=tmp_path) as process, ready_client(process) as client:
        assert client.login(name).code == 200


def test_the_sqlite_file_is_its_owners_alone(shared: Client) -> None:
    folder = shared.process.cwd / ".data"
    assert {path.name for path in folder.iterdir()} == {"users.db", "users.db-wal", "users.db-shm", "users.db.lock"}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
