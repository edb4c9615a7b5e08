"""From a key's appearance in etcd to the first call that its instance gets through the gateway."""

import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles

import grpc
import httpx

from bench.processes import CREDENTIALS, free_port, service
from bench.rates import Extent
from bench.report import Figure, at_most
from bench.users_stub import InstantUsers, serve
from protos.user.v1 import user_pb2
from run.etcd import etcd
from service_kit.registry import DEFAULT_PREFIX, EtcdConfig, Instance, key
from service_kit.registry.etcd import Client

CLIENTS = 2


class _Noticing(InstantUsers):
    """Knows when it was first called."""

    def __init__(self) -> None:
        self.called = threading.Event()
        self.first_call = 0.0

    def Login(self, request: user_pb2.LoginRequest, context: grpc.ServicerContext) -> user_pb2.LoginResponse:
        if not self.called.is_set():
            self.first_call = time.monotonic()
            self.called.set()
        return super().Login(request, context)


def measure(folder: Path, extent: Extent) -> list[Figure]:
    """Add one instance after the other under steady logins, and time each until its first call."""
    with ExitStack() as stack:
        port = free_port()
        stack.enter_context(etcd(port, folder, give_up=lambda: False))
        address = f"127.0.0.1:{port}"
        gateway = stack.enter_context(service("gateway_svc", folder, {"ETCD_ADDRESS": address}))
        client = stack.enter_context(Client(EtcdConfig((address,), timeout=10), address))
        lease = 1 + secrets.randbelow(2**62)
        client.grant(lease, 600)

        def appear() -> float:
            users = _Noticing()
            server, port = serve(users)
            instance = Instance(f"127.0.0.1:{port}")
            client.put(key(DEFAULT_PREFIX, "user", instance.address), instance.encode(), lease, unchanged_since=0)
            appeared = time.monotonic()
            if not users.called.wait(20):
                raise RuntimeError("an instance that appeared got no call in 20 s")
            servers.append(server)
            if len(servers) > 2:
                # Of many instances each would wait for its turn, which is not what is measured.
                servers.pop(0).stop(0.5).wait()
            return users.first_call - appeared

        servers: list[grpc.Server] = []
        stack.callback(lambda: [server.stop(None) for server in servers])
        stop = threading.Event()

        def log_in() -> None:
            with httpx.Client(timeout=10) as http:
                while not stop.is_set():
                    http.post(f"{gateway.url}/api/login", json=CREDENTIALS)

        with ThreadPoolExecutor(CLIENTS) as clients:
            logins = [clients.submit(log_in) for _ in range(CLIENTS)]
            try:
                appear()  # only now the gateway can become ready
                gateway.until_ready()
                taken = [appear() for _ in range(extent.rounds * 11)]
            finally:
                stop.set()
            for login in logins:
                login.result()
    p99 = quantiles(taken, n=100, method="inclusive")[98]
    detail = f"median {median(taken) * 1e3:.1f} ms, {len(taken)} instances, one after the other, under steady logins"
    return [at_most("key in etcd to first call: p99", p99 * 1e3, 100, "ms", detail)]
