"""Health watchers that come and go while a status changes."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from user_svc.health import READINESS, Health

ROUNDS = 300


def test_a_watcher_that_leaves_while_a_status_is_sent_does_not_stall_the_server() -> None:
    """The library sends under a lock that its server's only event thread also waits for when a watcher leaves."""
    held = threading.Event()
    health = Health("test.Service", lease_is_held=held.is_set, database_answers=lambda: True)
    server = grpc.server(ThreadPoolExecutor(4))
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    stopped = threading.Event()

    def flap() -> None:
        while not stopped.is_set():
            (held.clear if held.is_set() else held.set)()
            health.refresh()

    flapping = threading.Thread(target=flap, daemon=True)
    flapping.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)  # its stubs lack the methods
            for _ in range(ROUNDS):
                watches = [stub.Watch(health_pb2.HealthCheckRequest(service=READINESS), timeout=20) for _ in range(4)]
                for watch in watches:
                    next(watch)
                    watch.cancel()
            assert (
                stub.Check(health_pb2.HealthCheckRequest(), timeout=20).status == health_pb2.HealthCheckResponse.SERVING
            )
    finally:
        stopped.set()
        flapping.join(5)
        server.stop(None)
        health.stop() if health._thread.is_alive() else health._threads.shutdown(wait=False)
