"""A user service that answers at once, so that what is measured is the gateway. Run as a process.

With GRPC_TLS_CERT_FILE and its companions it demands the gateway's certificate, as the user service does.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from bench.listening import announce
from protos.user.v1 import user_pb2, user_pb2_grpc
from service_kit.files import Reader, Use
from service_kit.grpc_tls import ClientNames, server_credentials
from service_kit.settings import GrpcTlsSettings, load

_REVOCATIONS = int(os.environ.get("REVOCATIONS", "0"))
"""Sessions that the feed says have ended, an hour ago."""
_REVOKED_AT = int(time.time() - 3600) * 1000
_PAGE = 600
_WATCHERS = ThreadPoolExecutor(64)
"""A thread for each gateway's health watch."""


class InstantUsers(user_pb2_grpc.UserServiceServicer):
    """Accepts every call."""

    def Register(self, request: user_pb2.RegisterRequest, context: grpc.ServicerContext) -> user_pb2.RegisterResponse:
        return user_pb2.RegisterResponse(code=200, msg="注册成功", user_id=1)

    def Login(self, request: user_pb2.LoginRequest, context: grpc.ServicerContext) -> user_pb2.LoginResponse:
        return user_pb2.LoginResponse(code=200, msg="登录成功", user_id=1, username=request.username, generation=0)

    def ChangePassword(
        self, request: user_pb2.ChangePasswordRequest, context: grpc.ServicerContext
    ) -> user_pb2.ChangePasswordResponse:
        return user_pb2.ChangePasswordResponse(code=200, generation=1)

    def DeleteAccount(
        self, request: user_pb2.DeleteAccountRequest, context: grpc.ServicerContext
    ) -> user_pb2.DeleteAccountResponse:
        return user_pb2.DeleteAccountResponse(code=200)

    def OpenSession(
        self, request: user_pb2.OpenSessionRequest, context: grpc.ServicerContext
    ) -> user_pb2.OpenSessionResponse:
        return user_pb2.OpenSessionResponse(code=200, serial=1)

    def RefreshSession(
        self, request: user_pb2.RefreshSessionRequest, context: grpc.ServicerContext
    ) -> user_pb2.RefreshSessionResponse:
        return user_pb2.RefreshSessionResponse(code=200, serial=request.serial + 1, user_id=1, username="testuser123")

    def EndSession(
        self, request: user_pb2.EndSessionRequest, context: grpc.ServicerContext
    ) -> user_pb2.EndSessionResponse:
        return user_pb2.EndSessionResponse(code=200)

    def EndAllSessions(
        self, request: user_pb2.EndAllSessionsRequest, context: grpc.ServicerContext
    ) -> user_pb2.EndAllSessionsResponse:
        return user_pb2.EndAllSessionsResponse(code=200, generation=1)

    def ListSessions(
        self, request: user_pb2.ListSessionsRequest, context: grpc.ServicerContext
    ) -> user_pb2.ListSessionsResponse:
        return user_pb2.ListSessionsResponse()

    def ListRevocations(
        self, request: user_pb2.ListRevocationsRequest, context: grpc.ServicerContext
    ) -> user_pb2.ListRevocationsResponse:
        after = request.after_id if request.after_at == _REVOKED_AT else 0
        rest = range(after, _REVOCATIONS) if request.after_at <= _REVOKED_AT else range(0)
        page = [
            user_pb2.ListRevocationsResponse.Revocation(
                at=_REVOKED_AT,
                id=number + 1,
                ended_id=number.to_bytes(16, "big"),
                expires_at=_REVOKED_AT // 1000 + 24 * 3600,
            )
            for number in rest[:_PAGE]
        ]
        return user_pb2.ListRevocationsResponse(revocations=page, more=len(rest) > _PAGE, now=_REVOKED_AT + 3_600_000)


def serve(users: InstantUsers) -> tuple[grpc.Server, int]:
    """Serve `users` and their health on a free port of loopback; returns the server and the port."""
    tls = load(GrpcTlsSettings).tls_files("GRPC_TLS", Use.SERVER, Use.CLIENT)
    certificates = tls.follow(Reader()) if tls is not None else None
    names: list[grpc.ServerInterceptor] = []
    if certificates is not None:
        names.append(ClientNames(["gateway-svc"], certificates))
    server = grpc.server(ThreadPoolExecutor(8), interceptors=names)
    user_pb2_grpc.add_UserServiceServicer_to_server(users, server)
    # Its way without a thread a watcher deadlocks: sending a status holds a lock that the event thread waits for.
    healthy = health.HealthServicer(experimental_non_blocking=False, experimental_thread_pool=_WATCHERS)
    healthy.set("user.v1.UserService", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    if certificates is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", server_credentials(certificates))
    server.start()
    return server, port


if __name__ == "__main__":
    server, port = serve(InstantUsers())
    announce(port)
    server.wait_for_termination()
