"""The channel to the user services: which instance gets a call, how often, for how long, and who hears of its end."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from gateway_svc import users_client
from gateway_svc.users_client import LOGIN_DEADLINE, REGISTER_DEADLINE, UsersClient, UsersUnavailableError, target_of
from protos.user.v1 import user_pb2
from service_kit.registry import EtcdConfig, Instance, Registrar
from tests.gateway_svc.conftest import CREDENTIALS, StartGateway, admin, wait_until_ready
from tests.support.etcd import Etcd, free_port
from tests.support.process import Process
from tests.support.users_stub import UsersStub
from tests.support.wait import wait_until

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def two() -> Iterator[tuple[UsersStub, UsersStub]]:
    with UsersStub() as one, UsersStub() as other:
        yield one, other


def both(stubs: tuple[UsersStub, UsersStub]) -> str:
    return target_of([stub.address for stub in stubs])


def url(gateway: Process, path: str) -> str:
    return f"http://127.0.0.1:{gateway.port}{path}"


def unavailable(_: str, context: grpc.ServicerContext) -> None:
    context.abort(grpc.StatusCode.UNAVAILABLE, "")


def reached(gateway: Process, *stubs: UsersStub) -> None:
    """Log in until each of `stubs` has been called."""
    calls = [len(stub.calls) for stub in stubs]

    def all_called() -> bool:
        httpx.post(url(gateway, "/api/login"), json=CREDENTIALS)
        return all(len(stub.calls) > before for stub, before in zip(stubs, calls, strict=True))

    wait_until(all_called, 10, what="all instances to get calls")


def _more(calls: list[str], than: int) -> bool:
    return len(calls) > than


def _records(gateway: Process, trace_id: str) -> list[dict[str, Any]]:
    return [record for record in gateway.records if record["trace_id"] == trace_id]


def test_targets() -> None:
    assert target_of(["10.0.0.1:8888"]) == "ipv4:10.0.0.1:8888"
    assert target_of(["10.0.0.1:8888", "10.0.0.2:8888"]) == "ipv4:10.0.0.1:8888,10.0.0.2:8888"
    assert target_of(["[::1]:1", "[fd00::2]:2"]) == "ipv6:[::1]:1,[fd00::2]:2"
    assert target_of(["10.0.0.1:1", "[::1]:2"]) == "ipv6:[::ffff:10.0.0.1]:1,[::1]:2"


def test_ipv4_and_ipv6_instances_are_both_reached(users: UsersStub) -> None:
    async def check() -> None:
        client = UsersClient()
        client.use(target_of([users.address, "[::1]:1"]), lambda: None)
        assert (await client.login("nobody", "password123")).code == 401
        await client.close()

    asyncio.run(check())


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ({"X-Trace-ID": "t-1"}, {"x-trace-id": "t-1"}),
        ({"traceparent": TRACEPARENT}, {"x-trace-id": TRACEPARENT[3:35], "traceparent": TRACEPARENT}),
        ({"X-Trace-ID": "t-2", "traceparent": TRACEPARENT}, {"x-trace-id": "t-2", "traceparent": TRACEPARENT}),
        ({"X-Trace-ID": "t-3", "traceparent": "junk"}, {"x-trace-id": "t-3"}),
        (
            {"X-Trace-ID": "t-4", "traceparent": TRACEPARENT, "tracestate": "a=1,b=2"},
            {"x-trace-id": "t-4", "traceparent": TRACEPARENT, "tracestate": "a=1,b=2"},
        ),
        ({"X-Trace-ID": "t-5", "tracestate": "a=1"}, {"x-trace-id": "t-5"}),
    ],
)
def test_trace_ids_go_on(client: httpx.Client, users: UsersStub, headers: dict[str, str], sent: dict[str, str]) -> None:
    client.post("/api/login", json=CREDENTIALS, headers=headers)
    metadata = users.metadata[-1]
    assert {name: value for name, value in metadata.items() if name.startswith(("x-trace-id", "trace"))} == sent
    assert "authorization" not in metadata


@pytest.mark.parametrize(("path", "deadline"), [("/api/register", REGISTER_DEADLINE), ("/api/login", LOGIN_DEADLINE)])
def test_every_call_carries_its_deadline(client: httpx.Client, users: UsersStub, path: str, deadline: float) -> None:
    client.post(path, json=CREDENTIALS)
    assert deadline - 1 < users.time_remaining[-1] < deadline + 0.1  # gRPC rounds up when it sends it


def test_a_login_is_tried_again_elsewhere(start_gateway: StartGateway, two: tuple[UsersStub, UsersStub]) -> None:
    gateway = start_gateway(USER_SERVICE_TARGET=both(two))
    reached(gateway, *two)
    two[0].before = unavailable
    answers = [httpx.post(url(gateway, "/api/login"), json=CREDENTIALS) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 6


def test_a_registration_is_sent_once(start_gateway: StartGateway, two: tuple[UsersStub, UsersStub]) -> None:
    gateway = start_gateway(USER_SERVICE_TARGET=both(two))
    reached(gateway, *two)
    two[0].before = two[1].before = unavailable
    calls = [len(stub.calls) for stub in two]
    answers = [httpx.post(url(gateway, "/api/register"), json=CREDENTIALS) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [503] * 6
    assert sum(len(stub.calls) for stub in two) - sum(calls) == 6


def test_not_serving_instances_get_no_calls(start_gateway: StartGateway, two: tuple[UsersStub, UsersStub]) -> None:
    gateway = start_gateway(USER_SERVICE_TARGET=both(two))
    reached(gateway, *two)

    two[0].serving(yes=False)

    def left_alone() -> bool:
        calls = len(two[0].calls)
        answers = [httpx.post(url(gateway, "/api/register"), json=CREDENTIALS) for _ in range(4)]
        assert {answer.status_code for answer in answers} <= {200, 409}
        return len(two[0].calls) == calls

    wait_until(left_alone, 5, what="the one that drains to be left alone")

    two[1].serving(yes=False)
    wait_until(
        lambda: httpx.post(url(gateway, "/api/login"), json=CREDENTIALS).status_code == 503,
        5,
        what="no instance to be left",
    )
    two[0].serving(yes=True)
    reached(gateway, two[0])


def test_why_no_instance_can_be_reached_is_told(start_gateway: StartGateway) -> None:
    gateway = start_gateway(wait=False, USER_SERVICE_TARGET="dns:///nowhere.invalid:8888")
    line = gateway.wait_for("no user service can be reached", 60)
    assert line["level"] == "WARNING"
    assert "nowhere.invalid" in line["cause"]
    assert "\nusers_reachable 0.0\n" in admin(gateway, "/metrics").text
    assert httpx.post(url(gateway, "/api/login"), json=CREDENTIALS, timeout=20).status_code == 503
    assert admin(gateway, "/livez").status_code == 200
    assert admin(gateway, "/readyz").status_code == 503


def test_reachability_changes_are_logged_once(start_gateway: StartGateway, two: tuple[UsersStub, UsersStub]) -> None:
    gateway = start_gateway(USER_SERVICE_TARGET=both(two))

    def said() -> list[str]:
        return [line["message"] for line in gateway.records if "can be reached" in line["message"]]

    def is_reachable() -> bool:
        return "\nusers_reachable 1.0\n" in admin(gateway, "/metrics").text

    wait_until(is_reachable, 5)
    two[0].serving(yes=False)
    reached(gateway, two[1])
    assert (said(), is_reachable()) == ([], True)
    two[1].serving(yes=False)
    wait_until(lambda: not is_reachable(), 5)
    wait_until(said)
    two[0].stop()
    assert said() == ["no user service can be reached"]
    two[1].serving(yes=True)
    wait_until(is_reachable, 5)
    wait_until(lambda: len(said()) > 1)
    assert said() == ["no user service can be reached", "a user service can be reached"]


def test_no_instance_is_there(start_gateway: StartGateway) -> None:
    port = free_port()
    gateway = start_gateway(wait=False, USER_SERVICE_TARGET=f"ipv4:127.0.0.1:{port}")
    for path in ("/api/register", "/api/login"):
        answer = httpx.post(url(gateway, path), json=CREDENTIALS, timeout=REGISTER_DEADLINE)
        assert (answer.status_code, answer.json()["msg"]) == (503, "服务暂时不可用，请稍后重试")
    assert admin(gateway, "/readyz").status_code == 503
    assert admin(gateway, "/livez").status_code == 200
    with UsersStub(port) as late:
        wait_until_ready(gateway)
        reached(gateway, late)
    assert admin(gateway, "/readyz").status_code == 200


class Impostor(UsersStub):
    """Takes any password, for the user `answer` says."""

    answer = user_pb2.LoginResponse()

    def Login(self, request: user_pb2.LoginRequest, context: grpc.ServicerContext) -> user_pb2.LoginResponse:
        return self.answer


@pytest.fixture
def impostor() -> Iterator[Impostor]:
    with Impostor() as stub:
        yield stub


def _refuses_an_impostor(gateway: Process, trace_id: str) -> bool:
    said = [record["message"] for record in _records(gateway, trace_id) if record["level"] == "ERROR"]
    return any("answered for another user" in message for message in said)


def test_answer_for_another_user_gets_no_token(start_gateway: StartGateway, impostor: Impostor) -> None:
    gateway = start_gateway(USER_SERVICE_TARGET=impostor.target)
    name = CREDENTIALS["username"]
    refused = [(7, "stranger"), (7, f"{name}x"), (7, f" {name}"), (0, name), (-1, name)]
    for number, (user_id, username) in enumerate(refused):
        impostor.answer = user_pb2.LoginResponse(code=200, user_id=user_id, username=username)
        answer = httpx.post(url(gateway, "/api/login"), json=CREDENTIALS, headers={"X-Trace-ID": f"t-{number}"})
        assert (answer.status_code, answer.json()) == (500, {"code": 500, "msg": "服务器内部错误"})
        wait_until(partial(_refuses_an_impostor, gateway, f"t-{number}"), 5)
    assert "stranger" not in gateway.output

    for username in (name, name.upper(), ""):
        impostor.answer = user_pb2.LoginResponse(code=200, user_id=7, username=username)
        token = httpx.post(url(gateway, "/api/login"), json=CREDENTIALS).json()["token"]
        profile = httpx.get(url(gateway, "/api/profile"), headers={"Authorization": f"Bearer {token}"})
        assert profile.json()["data"] == {"user_id": 7, "username": username or name}


def test_a_client_that_hangs_up_cancels_its_call(gateway: Process, users: UsersStub) -> None:
    for path in ("/api/register", "/api/login"):
        users.cancelled.clear()
        users.before = users.wait_for_cancel
        body = json.dumps(CREDENTIALS).encode()
        trace_id = f"gone-{path.rpartition('/')[2]}"
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nX-Trace-ID: {trace_id}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        calls = len(users.calls)
        with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
            connection.sendall(head.encode() + body)
            wait_until(partial(_more, users.calls, calls), 5, what="the call to arrive")
            assert not users.cancelled.is_set()
        assert users.cancelled.wait(3), "the call goes on after its client left"
        (line,) = wait_until(partial(_records, gateway, trace_id), 5, what="its log line")
        assert (line["code"], line["route"]) == (499, path)
    assert 'http_requests_total{method="POST",route="/api/login",status="499"}' in admin(gateway, "/metrics").text


def test_a_swap_of_channels(two: tuple[UsersStub, UsersStub]) -> None:
    """The new one is made ready first; the old one is closed after its calls."""
    one, other = two
    release = threading.Event()
    entered = threading.Event()

    def wait(method: str, _: grpc.ServicerContext) -> None:
        if method == "Register":
            entered.set()
            release.wait(10)

    one.before = wait

    async def login(client: UsersClient) -> int:
        return (await client.login("nobody", "password123")).code

    async def check() -> None:
        client, used = UsersClient(), asyncio.Event()
        with pytest.raises(UsersUnavailableError):
            await login(client)
        client.use(one.target, used.set)
        assert await login(client) == 401  # which waited for the connection
        await asyncio.wait_for(used.wait(), 5)
        slow = asyncio.create_task(client.register("slow_one", "password123"))
        await asyncio.to_thread(entered.wait, 5)

        with socket.create_server(("127.0.0.1", 0)) as deaf:
            unready = asyncio.Event()
            client.use(f"ipv4:127.0.0.1:{deaf.getsockname()[1]}", unready.set)
            for _ in range(20):
                assert await login(client) == 401
            assert not unready.is_set()
            assert not other.calls

        swapped = asyncio.Event()
        client.use(other.target, swapped.set)
        await asyncio.wait_for(swapped.wait(), 5)
        assert not unready.is_set()
        calls = len(one.calls)
        assert await login(client) == 401
        assert (len(one.calls), other.calls) == (calls, ["Login"])
        assert not slow.done()
        release.set()
        assert (await asyncio.wait_for(slow, 5)).code == 200
        await client.close()

    asyncio.run(check())


def test_a_swap_waits_for_password_changes(two: tuple[UsersStub, UsersStub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users_client, "LOGIN_DEADLINE", 0.2)  # a change may take longer than a login
    one, other = two
    entered = threading.Event()

    def wait(method: str, context: grpc.ServicerContext) -> None:
        if method == "ChangePassword":
            entered.set()
            one.wait_for_cancel(method, context)

    one.before = wait

    async def check() -> None:
        client, used, swapped = UsersClient(), asyncio.Event(), asyncio.Event()
        client.use(one.target, used.set)
        await asyncio.wait_for(used.wait(), 5)
        change = asyncio.create_task(client.change_password(1, "password123", "new password", b"", None))
        await asyncio.to_thread(entered.wait, 5)
        client.use(other.target, swapped.set)
        await asyncio.wait_for(swapped.wait(), 5)
        assert not await asyncio.to_thread(one.cancelled.wait, 1)
        change.cancel()
        await client.close()

    asyncio.run(check())


def test_instances_come_and_go_in_the_registry(
    start_gateway: StartGateway, etcd: Etcd, two: tuple[UsersStub, UsersStub]
) -> None:
    prefix = "gateway/come-and-go"
    gateway = start_gateway(wait=False, ETCD_ADDRESS=etcd.endpoint, REGISTRY_PREFIX=prefix)
    answer = httpx.post(url(gateway, "/api/login"), json=CREDENTIALS)
    assert (answer.status_code, answer.json()["msg"]) == (503, "服务暂时不可用，请稍后重试")
    assert admin(gateway, "/readyz").text == "no user service has been found yet\n"

    one, other = two
    registrars = [
        Registrar(EtcdConfig((etcd.endpoint,)), "user", Instance(stub.address), prefix=prefix, ttl=2) for stub in two
    ]
    try:
        registrars[0].start()
        wait_until_ready(gateway)
        reached(gateway, one)
        assert not other.calls
        registrars[1].start()
        reached(gateway, one, other)
        metrics = admin(gateway, "/metrics").text
        assert 'registry_endpoints{service="user"} 2.0' in metrics
        assert "registry_snapshot_age_seconds " in metrics
        assert "registry_propagation_seconds_count " in metrics
        registrars[0].stop()
        one.stop()
        assert httpx.post(url(gateway, "/api/login"), json=CREDENTIALS).status_code == 401
    finally:
        for registrar in registrars:
            registrar.stop()
    assert admin(gateway, "/readyz").status_code == 200


def test_logins_survive_an_instance_that_is_black_holed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keepalive drops its connection after 6 s, and what waited on it is tried elsewhere.

    Without BDP probes, which may be under way when the instance stops, and are sooner to find out then.
    """
    monkeypatch.setattr(users_client, "_OPTIONS", [*users_client._OPTIONS, ("grpc.http2.bdp_probe", 0)])

    async def login(client: UsersClient) -> float:
        began = time.monotonic()
        assert (await client.login("nobody", "password123")).code == 401
        return time.monotonic() - began

    async def check(one: Process, two: UsersStub) -> None:
        client = UsersClient()
        client.use(target_of([one.target, two.address]), lambda: None)
        sent = 0
        while len(two.calls) in (0, sent):
            await login(client)
            sent += 1
        one.suspend()
        took = await asyncio.gather(*(login(client) for _ in range(8)))
        assert max(took) > 2, "none of them met the instance that is stopped"
        assert max([await login(client) for _ in range(8)]) < 3
        await client.close()

    with (
        Process("tests.support.users_stub", cwd=tmp_path) as one,
        UsersStub() as two,
    ):
        asyncio.run(check(one, two))
