"""Watches a name on grpc.health.v1 and writes each status as a JSON line, until a line comes in on stdin."""

import json
import os
import sys
import threading
import time
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

target, name = sys.argv[1:3]
certificate = Path("/run/secrets/mtls")


def leave() -> None:
    """End the process when stdin says so."""
    sys.stdin.readline()
    os._exit(0)


def channel() -> grpc.Channel:
    """Speak as the pod itself, with its certificate where it has one."""
    if not certificate.exists():
        return grpc.insecure_channel(target)
    parts = ((certificate / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt"))
    options = [("grpc.ssl_target_name_override", "user-svc")]
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(*parts), options)


threading.Thread(target=leave, daemon=True).start()
stub = health_pb2_grpc.HealthStub(channel())
# the library's types know of Check alone
watch = stub.Watch(health_pb2.HealthCheckRequest(service=name), wait_for_ready=True)  # type: ignore[attr-defined]
for answer in watch:
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    print(json.dumps({"status": status, "at": time.time()}), flush=True)
