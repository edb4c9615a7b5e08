"""A user service that answers at once: a real gRPC server with its health service, without hashes or a database.

`python -m tests.support.users_stub` runs one as a process, for tests that stop or kill it.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from protos.user.v1 import user_pb2, user_pb2_grpc
from service_kit.telemetry import logs

SERVICE = user_pb2.DESCRIPTOR.services_by_name["UserService"].full_name


@dataclass
class StubSession:
    """A session; each presentation of its newest serial makes the next one."""

    user_id: int
    username: str
    device: str
    generation: int
    serial: int = 1
    refusal: user_pb2.RefreshSessionResponse.Refusal | None = None


class UsersStub(user_pb2_grpc.UserServiceServicer):
    """Keeps names, passwords and sessions in memory, by far simpler rules than the user service's.

    `before` runs in each call and may wait or abort it; `refusal` is the code and msg of every answer when it is set.
    `is_outdated` makes it one that knows no sessions. `clock_ahead` is the seconds by which its database's clock is.
    `devices` are those that came with passwords. The feed of revocations is no call that `calls` counts.
    """

    def __init__(
        self,
        port: int = 0,
        before: Callable[[str, grpc.ServicerContext], None] | None = None,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self.before = before
        self.refusal: tuple[int, str] | None = None
        self.is_outdated = False
        self.sessions: dict[bytes, StubSession] = {}
        self.revocations: list[user_pb2.ListRevocationsResponse.Revocation] = []
        self.feed_reads: list[int] = []
        self.feed_error: grpc.StatusCode | None = None
        self.clock_ahead = 0
        self.generations: dict[int, int] = {}
        self.disabled: set[str] = set()
        self.devices: list[user_pb2.Device | None] = []
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
        self.devices.append(request.device if request.HasField("device") else None)
        if self.refusal is not None:
            return user_pb2.LoginResponse(code=self.refusal[0], msg=self.refusal[1])
        user_id, username, password = self._users.get(request.username.lower(), (0, "", ""))
        if not user_id or password != request.password:
            return user_pb2.LoginResponse(code=401, msg="密码错误")
        if username in self.disabled:
            return user_pb2.LoginResponse(code=401, msg="密码错误", disabled=True)
        answer = user_pb2.LoginResponse(code=200, msg="登录成功", user_id=user_id, username=username)
        if not self.is_outdated:
            answer.generation = self.generations.get(user_id, 0)
        return answer

    def ChangePassword(
        self, request: user_pb2.ChangePasswordRequest, context: grpc.ServicerContext
    ) -> user_pb2.ChangePasswordResponse:
        self._newer("ChangePassword", context)
        self.devices.append(request.device if request.HasField("device") else None)
        if self.refusal is not None:
            return user_pb2.ChangePasswordResponse(code=self.refusal[0], msg=self.refusal[1])
        found = [name for name, user in self._users.items() if user[0] == request.user_id]
        if not found:
            return user_pb2.ChangePasswordResponse(code=401, msg="登录已过期，请重新登录")
        user_id, username, password = self._users[found[0]]
        if password != request.current_password:
            return user_pb2.ChangePasswordResponse(code=403, msg="当前密码错误")
        self._users[found[0]] = (user_id, username, request.new_password)
        generation = self._raise_generation(user_id)
        for session_id, session in self.sessions.items():
            if session.user_id == user_id and session_id == request.session_id:
                session.generation = generation
            elif session.user_id == user_id and not session.refusal:
                session.refusal = user_pb2.RefreshSessionResponse.PASSWORD_CHANGED
        return user_pb2.ChangePasswordResponse(code=200, msg="密码修改成功", generation=generation)

    def DeleteAccount(
        self, request: user_pb2.DeleteAccountRequest, context: grpc.ServicerContext
    ) -> user_pb2.DeleteAccountResponse:
        self._newer("DeleteAccount", context)
        self.devices.append(request.device if request.HasField("device") else None)
        if self.refusal is not None:
            return user_pb2.DeleteAccountResponse(code=self.refusal[0], msg=self.refusal[1])
        found = [name for name, user in self._users.items() if user[0] == request.user_id]
        if not found:
            return user_pb2.DeleteAccountResponse(code=401, msg="登录已过期，请重新登录")
        if self._users[found[0]][2] != request.password:
            return user_pb2.DeleteAccountResponse(code=403, msg="当前密码错误")
        self._users[found[0]] = (0, "", "")
        self._raise_generation(request.user_id)
        return user_pb2.DeleteAccountResponse(code=200, msg="账号已注销")

    def OpenSession(
        self, request: user_pb2.OpenSessionRequest, context: grpc.ServicerContext
    ) -> user_pb2.OpenSessionResponse:
        self._newer("OpenSession", context)
        if self.refusal is not None:
            return user_pb2.OpenSessionResponse(code=self.refusal[0], msg=self.refusal[1])
        (username,) = [name for user_id, name, _ in self._users.values() if user_id == request.user_id]
        session = StubSession(request.user_id, username, request.device, request.generation)
        serial = self.sessions.setdefault(request.session_id, session).serial
        return user_pb2.OpenSessionResponse(code=200, msg="", serial=serial, refresh_expires_in=14 * 86400)

    def RefreshSession(
        self, request: user_pb2.RefreshSessionRequest, context: grpc.ServicerContext
    ) -> user_pb2.RefreshSessionResponse:
        self._newer("RefreshSession", context)
        if self.refusal is not None:
            return user_pb2.RefreshSessionResponse(code=self.refusal[0], msg=self.refusal[1])
        session = self.sessions.get(request.session_id)
        if session is None or request.serial > session.serial:
            return user_pb2.RefreshSessionResponse(code=401, refusal=user_pb2.RefreshSessionResponse.UNKNOWN)
        if request.serial < session.serial and not session.refusal:
            session.refusal = user_pb2.RefreshSessionResponse.REUSED
        if session.refusal:
            return user_pb2.RefreshSessionResponse(code=401, refusal=session.refusal)
        session.serial += 1
        return user_pb2.RefreshSessionResponse(
            code=200,
            serial=session.serial,
            user_id=session.user_id,
            username=session.username,
            generation=session.generation,
            refresh_expires_in=14 * 86400,
        )

    def EndSession(
        self, request: user_pb2.EndSessionRequest, context: grpc.ServicerContext
    ) -> user_pb2.EndSessionResponse:
        self._newer("EndSession", context)
        if self.refusal is not None:
            return user_pb2.EndSessionResponse(code=self.refusal[0], msg=self.refusal[1])
        if request.HasField("access_token"):
            self.revoke(ended_id=request.access_token.id, expires_at=request.access_token.expires_at)
            return user_pb2.EndSessionResponse(code=200)
        session = self.sessions.get(request.session_id)
        if session is None or request.user_id not in (0, session.user_id):
            return user_pb2.EndSessionResponse(code=404)
        if not session.refusal:
            session.refusal = user_pb2.RefreshSessionResponse.ENDED
            self.revoke(ended_id=request.session_id, expires_at=int(time.time()) + 930)
        return user_pb2.EndSessionResponse(code=200)

    def EndAllSessions(
        self, request: user_pb2.EndAllSessionsRequest, context: grpc.ServicerContext
    ) -> user_pb2.EndAllSessionsResponse:
        self._newer("EndAllSessions", context)
        if self.refusal is not None:
            return user_pb2.EndAllSessionsResponse(code=self.refusal[0], msg=self.refusal[1])
        generation = self._raise_generation(request.user_id)
        for session in self.sessions.values():
            if session.user_id == request.user_id and not session.refusal:
                session.refusal = user_pb2.RefreshSessionResponse.ENDED
        return user_pb2.EndAllSessionsResponse(code=200, generation=generation)

    def ListSessions(
        self, request: user_pb2.ListSessionsRequest, context: grpc.ServicerContext
    ) -> user_pb2.ListSessionsResponse:
        self._newer("ListSessions", context)
        moment = 1767225600_000  # 2026-01-01
        return user_pb2.ListSessionsResponse(
            sessions=[
                user_pb2.ListSessionsResponse.Session(
                    session_id=session_id,
                    device=session.device,
                    created_at=moment,
                    used_at=moment + 1_999,
                    expires_at=moment + 14 * 86400_000,
                )
                for session_id, session in self.sessions.items()
                if session.user_id == request.user_id and not session.refusal
            ][:50]
        )

    def ListRevocations(
        self, request: user_pb2.ListRevocationsRequest, context: grpc.ServicerContext
    ) -> user_pb2.ListRevocationsResponse:
        if self.is_outdated:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        if self.feed_error is not None:
            context.abort(self.feed_error, "")
        self.feed_reads.append(request.after_at)
        after = (request.after_at, request.after_id)
        rows = sorted((row for row in self.revocations if (row.at, row.id) > after), key=lambda row: (row.at, row.id))
        return user_pb2.ListRevocationsResponse(revocations=rows[:500], more=len(rows) > 500, now=self._now())

    def revoke(self, **fields: Any) -> None:
        """Add a row to the feed, by default as of now."""
        with self._lock:
            row = user_pb2.ListRevocationsResponse.Revocation(
                **{"at": self._now(), "id": len(self.revocations) + 1, **fields}
            )
            self.revocations.append(row)

    def _now(self) -> int:
        return int((time.time() + self.clock_ahead) * 1000)

    def _raise_generation(self, user_id: int) -> int:
        generation = self.generations[user_id] = self.generations.get(user_id, 0) + 1
        user = user_pb2.ListRevocationsResponse.User(user_id=user_id, generation=generation)
        self.revoke(user=user, expires_at=int(time.time()) + 86430)
        return generation

    def _newer(self, method: str, context: grpc.ServicerContext) -> None:
        """Begin a call that older user services do not know."""
        self._called(method, context)
        if self.is_outdated:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")

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
