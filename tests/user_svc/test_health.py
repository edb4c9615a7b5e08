"""Health names, their watchers, and the threads they take."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer

from tests.support.wait import wait_until
from user_svc.health import LIVENESS, READINESS, Health

SERVICE = "test.Service"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
ROUNDS = 150


class State:
    """What the names depend on."""

    lease = True
    database = True


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
def health(state: State) -> Iterator[Health]:
    health = Health(
        SERVICE,
        lease_is_held=lambda: state.lease,
        database_answers=lambda: state.database,
        database_obstacle=lambda: "" if state.database else "the database does not answer",
    )
    health.start()
    yield health
    health.stop()


@contextmanager
def serving(health: Health, *, threads: int = 4, handler: Callable[[Any, Any], bytes] | None = None) -> Iterator[Any]:
    """Lend a stub of a server that serves `health`, and `handler` as /test.Service/Call."""
    server = grpc.server(ThreadPoolExecutor(threads))
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    if handler is not None:
        method: Any = grpc.unary_unary_rpc_method_handler(handler)
        server.add_registered_method_handlers(SERVICE, {"Call": method})
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            stub.call = channel.unary_unary(f"/{SERVICE}/Call")
            yield stub
    finally:
        stopped = server.stop(0)
        health.end_watches()
        stopped.wait(10)


def request(name: str = "") -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=name)


@pytest.mark.parametrize(
    ("lease", "database", "draining", "expected"),
    [
        (True, True, False, {READINESS: True, SERVICE: True}),
        (False, True, False, {READINESS: False, SERVICE: True}),
        (True, False, False, {READINESS: False, SERVICE: False}),
        (True, True, True, {READINESS: False, SERVICE: False}),
    ],
)
def test_what_each_name_depends_on(
    health: Health, state: State, expected: dict[str, bool], *, lease: bool, database: bool, draining: bool
) -> None:
    state.lease, state.database = lease, database
    if draining:
        health.drain()
    health.refresh()
    with serving(health) as stub:
        served = {name: stub.Check(request(name), timeout=10).status == SERVING for name in (READINESS, SERVICE)}
        assert served == expected
        assert stub.Check(request(LIVENESS), timeout=10).status == SERVING
        assert stub.Check(request(), timeout=10).status == SERVING
    assert (health.missing() is None) == expected[READINESS]


def test_silently_expired_lease_is_noticed(health: Health, state: State) -> None:
    with serving(health) as stub:
        watch = stub.Watch(request(READINESS), timeout=20)
        assert next(watch).status == SERVING
        state.lease = False
        assert next(watch).status == NOT_SERVING


def test_health_answers_while_all_threads_are_busy(health: Health) -> None:
    free = threading.Event()

    def wait(_request: bytes, _context: object) -> bytes:
        free.wait(20)
        return b""

    with serving(health, threads=1, handler=wait) as stub:
        calls = [stub.call.future(b"", timeout=20) for _ in range(3)]
        assert stub.Check(request(), timeout=5).status == SERVING
        assert next(stub.Watch(request(READINESS), timeout=5)).status == SERVING
        free.set()
        for call in calls:
            call.result()


def test_a_stopping_server_does_not_wait_for_watchers(health: Health) -> None:
    server = grpc.server(ThreadPoolExecutor(4))
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(request(READINESS), timeout=60) for _ in range(3)]
        for watch in watches:
            next(watch)
        stopped = server.stop(60)
        health.end_watches()
        assert stopped.wait(10)
        assert [list(watch) for watch in watches] == [[], [], []]
    wait_until(lambda: not any(health.servicer._send_response_callbacks.values()))


def test_leaving_watchers_do_not_stall_the_server(health: Health, state: State) -> None:
    """The library sends under a lock that its server's only event thread also waits for when a watcher leaves."""
    stopped = threading.Event()

    def flap() -> None:
        while not stopped.is_set():
            state.lease = not state.lease
            health.refresh()

    with serving(health) as stub:
        flapping = threading.Thread(target=flap, daemon=True)
        flapping.start()
        try:
            for _ in range(ROUNDS):
                watches = [stub.Watch(request(READINESS), timeout=20) for _ in range(4)]
                for watch in watches:
                    next(watch)
                    watch.cancel()
            assert stub.Check(request(), timeout=20).status == SERVING
        finally:
            stopped.set()
            flapping.join(5)


def test_other_health_services_keep_their_threads() -> None:
    """The library keeps options on its class's functions, where a pool that is shut down would end every server."""
    plain: Any = HealthServicer(experimental_non_blocking=False)
    Health("test.Service", lambda: True, lambda: True, lambda: "")
    assert plain.Watch.experimental_thread_pool is None
    assert plain.Watch.experimental_non_blocking is False
    assert not hasattr(plain.Check, "experimental_thread_pool")
