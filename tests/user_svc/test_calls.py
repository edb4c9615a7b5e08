"""What surrounds a call: its status, its log line, and who is not worth working for."""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from protos.user.v1 import user_pb2
from service_kit.telemetry.context import current
from tests.support.wait import wait_until
from tests.user_svc.client import code_of
from user_svc.calls import CallInterceptor
from user_svc.database_errors import DatabaseUnavailableError
from user_svc.hash_queue import OverloadedError
from user_svc.throttle import ThrottledError

SERVICE = "test.Service"
CANARY = "c4n4ry"

Handler = Callable[[Any, grpc.ServicerContext], Any]


@contextmanager
def serving(
    handler: Handler, on_unavailable: Callable[[], None] = lambda: None, threads: int = 4, share: float = 1.0
) -> Iterator[tuple[Any, Any]]:
    """Lend /test.Service/Call with the interceptor around `handler`, and the threads that serve it."""
    pool = ThreadPoolExecutor(threads)
    server = grpc.server(pool, interceptors=[CallInterceptor(SERVICE, on_unavailable, share)])
    method: Any = grpc.unary_unary_rpc_method_handler(
        handler, response_serializer=user_pb2.LoginResponse.SerializeToString
    )
    server.add_registered_method_handlers(SERVICE, {"Call": method})
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel.unary_unary(f"/{SERVICE}/Call"), pool
    finally:
        server.stop(0).wait(10)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DatabaseUnavailableError("CR_SERVER_LOST"), grpc.StatusCode.UNAVAILABLE),
        (OverloadedError(7), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (ThrottledError(7), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (TimeoutError(CANARY), grpc.StatusCode.DEADLINE_EXCEEDED),
        (CancelledError(CANARY), grpc.StatusCode.CANCELLED),
        (RuntimeError(CANARY), grpc.StatusCode.INTERNAL),
    ],
)
def test_failures_are_statuses_without_secrets(
    caplog: pytest.LogCaptureFixture, error: Exception, status: grpc.StatusCode
) -> None:
    asked = threading.Event()

    def fail(_request: object, _context: object) -> None:
        raise error

    with caplog.at_level(logging.INFO), serving(fail, asked.set) as (call, _), pytest.raises(grpc.RpcError) as failed:
        call(b"", timeout=10)
    assert code_of(failed.value) is status
    assert CANARY not in str(failed.value) + caplog.text
    assert asked.is_set() == (status is grpc.StatusCode.UNAVAILABLE)
    ended: Any = failed.value
    trailing = dict(ended.trailing_metadata())
    assert trailing.get("retry-after") == ("7" if status is grpc.StatusCode.RESOURCE_EXHAUSTED else None)
    assert trailing.get("refusal") == ("throttled" if isinstance(error, ThrottledError) else None)
    (record,) = (record for record in caplog.records if record.name == "user_svc.calls")
    assert (record.__dict__["method"], record.__dict__["code"]) == ("Call", status.name)
    assert (record.levelno == logging.ERROR) == (status is grpc.StatusCode.INTERNAL)
    if status is grpc.StatusCode.INTERNAL:
        assert record.__dict__["cause"] == "RuntimeError"
        assert "test_calls.py" in record.__dict__["at"]


def test_trace_id_ends_with_the_call() -> None:
    seen = []

    def look(_request: object, _context: object) -> user_pb2.LoginResponse:
        seen.append(current.get().trace_id)
        return user_pb2.LoginResponse()

    with serving(look, threads=1) as (call, _):
        call(b"", timeout=10, metadata=[("x-trace-id", "one")])
        call(b"", timeout=10, metadata=[("x-trace-id", "two"), ("x-bin", b"\xff")])
        call(b"", timeout=10)
    assert seen[:2] == ["one", "two"]
    assert len(seen[2]) == 32


def test_the_gateway_decides_which_calls_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    def answer(_request: object, _context: object) -> user_pb2.LoginResponse:
        return user_pb2.LoginResponse(code=200)

    with caplog.at_level(logging.INFO), serving(answer, share=0.5) as (call, _):
        for trace_id, number in [("low", "00000000"), ("high", "ffffffff")] * 20:
            call(b"", timeout=10, metadata=[("x-trace-id", "same"), ("x-log-random", number), ("x-case", trace_id)])
    assert len([record for record in caplog.records if record.name == "user_svc.calls"]) == 20


@pytest.mark.parametrize("code", [401, 403, 409])
def test_refusals_are_logged_up_to_a_limit(caplog: pytest.LogCaptureFixture, code: int) -> None:
    def answer(request: bytes, _context: object) -> user_pb2.LoginResponse:
        return user_pb2.LoginResponse(code=200 if request else code)

    def logged(message: str) -> list[logging.LogRecord]:
        return [record for record in caplog.records if record.getMessage() == message]

    with caplog.at_level(logging.INFO), serving(answer, share=0) as (call, _):
        for _ in range(100):
            call(b"", timeout=10)
            call(b"fine", timeout=10)
        wait_until(lambda: logged("call lines suppressed"))
    results = {record.__dict__["result"] for record in logged("call")}
    suppressed = [record.__dict__["count"] for record in logged("call lines suppressed")]
    assert results == {code}
    assert len(logged("call")) + sum(suppressed) == 100


def test_cancelled_calls_are_not_started() -> None:
    free = threading.Event()
    begun = []

    def wait(request: bytes, _context: object) -> user_pb2.LoginResponse:
        begun.append(request)
        free.wait(20)
        return user_pb2.LoginResponse()

    with serving(wait, threads=1) as (call, pool):
        first = call.future(b"first", timeout=20)
        wait_until(lambda: begun)
        gone = call.future(b"gone", timeout=20)
        wait_until(lambda: pool._work_queue.qsize() == 1)
        gone.cancel()
        last = call.future(b"last", timeout=20)
        wait_until(lambda: pool._work_queue.qsize() == 2)  # queued after the other one's cancellation
        free.set()
        first.result()
        last.result()
    assert begun == [b"first", b"last"]
