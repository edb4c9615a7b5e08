"""A user service that answers at once, so that what is measured is the gateway. Run as a process."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from protos.user.v1 import user_pb2, user_pb2_grpc
from service_kit.telemetry import logs


class InstantUsers(user_pb2_grpc.UserServiceServicer):
    """Says yes to everything."""

    def Register(self, request: user_pb2.RegisterRequest, context: grpc.ServicerContext) -> user_pb2.RegisterResponse:
        return user_pb2.RegisterResponse(code=200, msg="注册成功", user_id=1)

    def Login(self, request: user_pb2.LoginRequest, context: grpc.ServicerContext) -> user_pb2.LoginResponse:
        return user_pb2.LoginResponse(code=200, msg="登录成功", user_id=1, username=request.username)


def serve(users: InstantUsers, pool: ThreadPoolExecutor) -> tuple[grpc.Server, int]:
    """Serve `users` and their health on a free port of loopback; returns the server and the port."""
    server = grpc.server(pool)
    user_pb2_grpc.add_UserServiceServicer_to_server(users, server)
    healthy = health.HealthServicer(experimental_non_blocking=False)
    healthy.set("user.v1.UserService", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def main() -> None:
    logs.configure("users_stub")
    _, port = serve(InstantUsers(), ThreadPoolExecutor(8))
    logging.getLogger(__name__).info("listening", extra={"port": port})
    threading.Event().wait()


if __name__ == "__main__":
    main()
