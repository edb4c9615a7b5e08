"""Watches a name on grpc.health.v1 and writes each status as a JSON line, until a line comes in on stdin."""

import json
import os
import sys
import threading
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

target, name = sys.argv[1:3]


def leave() -> None:
    """End the process when stdin says so."""
    sys.stdin.readline()
    os._exit(0)


threading.Thread(target=leave, daemon=True).start()
stub = health_pb2_grpc.HealthStub(grpc.insecure_channel(target))
# the library's types know of Check alone
watch = stub.Watch(health_pb2.HealthCheckRequest(service=name), wait_for_ready=True)  # type: ignore[attr-defined]
for answer in watch:
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    print(json.dumps({"status": status, "at": time.time()}), flush=True)
