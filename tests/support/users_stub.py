"""A user service that answers at once: a real gRPC server with its health service, without hashes or a database.

`python -m tests.support.users_stub` runs one as a process, for tests that stop or kill it.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from types import TracebackType
from typing import Any, Self

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from protos.user.v1 import user_pb2, user_pb2_grpc
from service_kit.telemetry import logs

SERVICE = user_pb2.DESCRIPTOR.services_by_name["UserService"].full_name


class UsersStub(user_pb2_grpc.UserServiceServicer):
    """Keeps names and passwords in memory.

    `before` runs in each call and may wait or abort it; `refusal` is the code and msg of every answer when it is set.
    """

    def __init__(
        self,
        port: int = 0,
        before: Callable[[str, grpc.ServicerContext], None] | None = None,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self.before = before
        self.refusal: tuple[int, str] | None = None
        self.calls: list[str] = []
        self.metadata: list[dict[str, str]] = []
        self.time_remaining: list[float] = []
        self.cancelled = threading.Event()
        self._users: dict[str, tuple[int, str, str]] = {}
        self._lock = threading.Lock()
        options: Sequence[tuple[str, Any]] = [
            ("grpc.so_reuseport", 0),
            ("grpc.http2.min_ping_interval_without_data_ms", 3000),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 3000),
        ]
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=options)
        self.health = health.HealthServicer(experimental_non_blocking=False)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        user_pb2_grpc.add_UserServiceServicer_to_server(self, self._server)
        address = f"127.0.0.1:{port}"
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        self.serving(yes=True)
        self._server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def target(self) -> str:
        return f"ipv4:{self.address}"

    def serving(self, *, yes: bool) -> None:
        """Say on the health service whether this instance wants traffic."""
        status = health_pb2.HealthCheckResponse.SERVING if yes else health_pb2.HealthCheckResponse.NOT_SERVING
        self.health.set(SERVICE, status)

    def stop(self, grace: float | None = None) -> None:
        self._server.stop(grace).wait()

    def wait_for_cancel(self, _: str, context: grpc.ServicerContext) -> None:
        """A `before` that answers nothing until the caller is gone."""
        context.add_callback(self.cancelled.set)
        deadline = time.monotonic() + 30
        while context.is_active() and time.monotonic() < deadline:
            self.cancelled.wait(0.05)

    def Register(self, request: user_pb2.RegisterRequest, context: grpc.ServicerContext) -> user_pb2.RegisterResponse:
        self._called("Register", context)
        if self.refusal is not None:
            return user_pb2.RegisterResponse(code=self.refusal[0], msg=self.refusal[1])
        with self._lock:
            name = request.username.lower()
            if name in self._users:
                return user_pb2.RegisterResponse(code=409, msg="用户名已存在")
            user_id = len(self._users) + 1
            self._users[name] = (user_id, request.username, request.password)
        return user_pb2.RegisterResponse(code=200, msg="注册成功", user_id=user_id)

    def Login(self, request: user_pb2.LoginRequest, context: grpc.ServicerContext) -> user_pb2.LoginResponse:
        self._called("Login", context)
        if self.refusal is not None:
            return user_pb2.LoginResponse(code=self.refusal[0], msg=self.refusal[1])
        user_id, username, password = self._users.get(request.username.lower(), (0, "", ""))
        if not user_id or password != request.password:
            return user_pb2.LoginResponse(code=401, msg="密码错误")
        return user_pb2.LoginResponse(code=200, msg="登录成功", user_id=user_id, username=username)

    def _called(self, method: str, context: grpc.ServicerContext) -> None:
        self.calls.append(method)
        self.metadata.append({str(key): str(value) for key, value in context.invocation_metadata()})
        self.time_remaining.append(context.time_remaining())
        if self.before is not None:
            self.before(method, context)


def main() -> None:
    logs.configure("users_stub", style="json")
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    with UsersStub() as stub:
        logging.getLogger(__name__).info("listening", extra={"port": stub.port})
        over.wait()


if __name__ == "__main__":
    main()
