"""What hostile clients leave behind: nothing."""

from collections.abc import Callable
from contextlib import ExitStack, suppress

import psutil
import pytest

from tests.gateway_svc.conftest import StartGateway
from tests.gateway_svc.http_server.conftest import GET_PING, POST_LOGIN, Connect
from tests.support.platform import sample
from tests.support.process import Process
from tests.support.raw_http import RawClient
from tests.support.users_stub import UsersStub
from tests.support.wait import wait_until

ALLOWED = 10 * 1024 * 1024
"""Bytes that the resident memory may grow by."""
START = b"GET /ping HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture
def gateway(start_gateway: StartGateway, users: UsersStub) -> Process:
    return start_gateway(USER_SERVICE_TARGET=users.target, ACCESS_LOG_SAMPLE="0", HEAD_TIMEOUT="2")


def requests_of_their_own_connections(gateway: Process, count: int) -> None:
    for _ in range(count):
        with RawClient(gateway.port) as client:
            assert client.ask(GET_PING).status == 200


def half_heads(gateway: Process, count: int) -> None:
    head = START + b"".join(b"X-%d: %b\r\n" % (number, b"y" * 300) for number in range(99))
    with ExitStack() as stack:
        clients = []
        for _ in range(count):
            clients.append(stack.enter_context(RawClient(gateway.port)))
            clients[-1].send(head[:31_000])
        assert [client.answer().status for client in clients] == [408] * count


def trailers(gateway: Process, count: int) -> None:
    with ExitStack() as stack:
        for _ in range(count):
            client = stack.enter_context(RawClient(gateway.port))
            with suppress(ConnectionError):
                client.send(START + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"a:b\r\n" * 100_000)


def large_heads(gateway: Process, count: int) -> None:
    for number in range(count):
        with RawClient(gateway.port) as client:
            field = b"X-A: " + b"y" * 54_000 + b"\r\n" if number % 2 else b"a:b\r\n" * 10_000
            client.send(START + field + b"\r\n")
            assert client.answer().status == 431


def pipelined_requests(gateway: Process, count: int) -> None:
    """Clients that send many requests and read no answer."""
    with ExitStack() as stack:
        for _ in range(count // 5):
            client = stack.enter_context(RawClient(gateway.port))
            client.socket.setblocking(False)
            with suppress(BlockingIOError):
                client.socket.send(GET_PING * 10_000)


def large_bodies(gateway: Process, count: int) -> None:
    for _ in range(count):
        with RawClient(gateway.port) as client:
            assert client.ask(POST_LOGIN + b"Content-Length: 200000\r\n\r\n" + b"z" * 200_000).status == 413


ATTACKS: dict[str, tuple[Callable[[Process, int], None], int]] = {
    "requests of their own connections": (requests_of_their_own_connections, 1000),
    "half heads": (half_heads, 500),
    "trailers": (trailers, 500),
    "large heads": (large_heads, 200),
    "pipelined requests": (pipelined_requests, 100),
    "large bodies": (large_bodies, 200),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_memory_is_given_back(gateway: Process, name: str) -> None:
    attack, count = ATTACKS[name]
    attack(gateway, 20)
    assert_flat(gateway, lambda: attack(gateway, count), name)


def test_unread_documents_take_little_memory(gateway: Process, connect: Connect) -> None:
    request = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"
    with RawClient(gateway.port) as client:
        assert len(client.ask(request).body) > 2**20
    process = psutil.Process(gateway.pid)
    before = process.memory_info().rss
    for _ in range(30):
        connect(gateway).send(request * 20)  # more than the sockets' buffers take
    wait_until(lambda: sample(gateway, "http_requests_in_flight") == 30, 10, what="all to wait for their clients")
    assert process.memory_info().rss - before < ALLOWED


@pytest.mark.faults
def test_memory_is_given_back_after_all_of_them(gateway: Process) -> None:
    for attack, _ in ATTACKS.values():
        attack(gateway, 20)

    def everything() -> None:
        for attack, count in ATTACKS.values():
            attack(gateway, 10_000 if count == 1000 else count)

    assert_flat(gateway, everything, "all of them")


def assert_flat(gateway: Process, attack: Callable[[], None], name: str) -> None:
    process = psutil.Process(gateway.pid)
    before = process.memory_info().rss
    attack()
    wait_until(lambda: sample(gateway, "http_connections") == 0, 20, what="the connections to end")
    wait_until(lambda: process.memory_info().rss - before < ALLOWED, 3, what=f"the memory to return to {before}")
    print(f"{name}: {before / 2**20:.1f} MiB before, {process.memory_info().rss / 2**20:.1f} after")
