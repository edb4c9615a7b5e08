"""What a caller of the user service has: stubs, metrics, health."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from protos.user.v1 import user_pb2, user_pb2_grpc
from tests.support.process import Process
from tests.support.wait import wait_until

PASSWORD = "password123"
SERVICE = "user.v1.UserService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

Metadata = Sequence[tuple[str, str]]


class Client:
    """A channel to one user service; use it as a context manager."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.channel = grpc.insecure_channel(process.target)
        self.users = user_pb2_grpc.UserServiceStub(self.channel)
        self.health: Any = health_pb2_grpc.HealthStub(self.channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.channel.close()

    def register(
        self, username: str, password: str = PASSWORD, *, timeout: float = 10, metadata: Metadata = ()
    ) -> user_pb2.RegisterResponse:
        request = user_pb2.RegisterRequest(username=username, password=password)
        return self.users.Register(request, timeout=timeout, metadata=tuple(metadata))

    def login(
        self, username: str, password: str = PASSWORD, *, device: user_pb2.Device | None = None, timeout: float = 10
    ) -> user_pb2.LoginResponse:
        request = user_pb2.LoginRequest(username=username, password=password, device=device)
        return self.users.Login(request, timeout=timeout)

    def serves(self, name: str) -> bool:
        """Whether the name is SERVING on grpc.health.v1."""
        answer = self.health.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
        return bool(answer.status == SERVING)

    def wait_until_serving(self, name: str = "readiness", timeout: float = 20) -> None:
        wait_until(lambda: self.serves(name), timeout, what=f"{name} to be SERVING")

    def wait_until_not_serving(self, name: str = "readiness", timeout: float = 20) -> None:
        wait_until(lambda: not self.serves(name), timeout, what=f"{name} to be NOT_SERVING")

    def metrics(self) -> str:
        return httpx.get(f"http://127.0.0.1:{self.process.admin_port}/metrics", trust_env=False).text

    def metric(self, name: str, **labels: str) -> float:
        """The value of one sample; 0 when there is none."""
        for family in text_string_to_metric_families(self.metrics()):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return float(sample.value)
        return 0.0


@contextmanager
def ready_client(process: Process) -> Iterator[Client]:
    """Wait until the service can be used and lend a client of it."""
    with Client(process) as client:
        client.wait_until_serving(SERVICE)
        yield client


def code_of(call: object) -> grpc.StatusCode:
    """The status code of a call that ended."""
    code = getattr(call, "code", None)
    assert code is not None
    status = code()
    assert isinstance(status, grpc.StatusCode)
    return status
