"""A user service that answers at once, so that what is measured is the gateway. Run as a process."""

from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from bench.listening import announce
from protos.user.v1 import user_pb2, user_pb2_grpc

_WATCHERS = ThreadPoolExecutor(64)
"""A thread for each gateway's health watch."""


class InstantUsers(user_pb2_grpc.UserServiceServicer):
    """Accepts every call."""

    def Register(self, request: user_pb2.RegisterRequest, context: grpc.ServicerContext) -> user_pb2.RegisterResponse:
        return user_pb2.RegisterResponse(code=200, msg="注册成功", user_id=1)

    def Login(self, request: user_pb2.LoginRequest, context: grpc.ServicerContext) -> user_pb2.LoginResponse:
        return user_pb2.LoginResponse(code=200, msg="登录成功", user_id=1, username=request.username)


def serve(users: InstantUsers) -> tuple[grpc.Server, int]:
    """Serve `users` and their health on a free port of loopback; returns the server and the port."""
    server = grpc.server(ThreadPoolExecutor(8))
    user_pb2_grpc.add_UserServiceServicer_to_server(users, server)
    # Its way without a thread a watcher deadlocks: sending a status holds a lock that the event thread waits for.
    healthy = health.HealthServicer(experimental_non_blocking=False, experimental_thread_pool=_WATCHERS)
    healthy.set("user.v1.UserService", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


if __name__ == "__main__":
    server, port = serve(InstantUsers())
    announce(port)
    server.wait_for_termination()
