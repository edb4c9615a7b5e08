"""Mutual TLS of the user service's port."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from protos.user.v1 import user_pb2, user_pb2_grpc
from tests.support.certificates import AUTHORITY, CERTIFICATE, KEY, Authority, Mount
from tests.support.process import Process
from tests.support.wait import wait_until
from tests.user_svc.client import PASSWORD, SERVICE, code_of

NAME = "user-svc"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def service(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("tls")
    mount = Mount(folder / "grpc", authority.issue(NAME))
    with Process("user_svc", env=mount.env("GRPC_TLS"), cwd=folder) as process:
        wait_until(lambda: probe(process, "readyz") == 200, 20, what="the service to be ready")
        yield process


def probe(process: Process, path: str) -> int:
    return httpx.get(f"http://127.0.0.1:{process.admin_port}/{path}", timeout=5, trust_env=False).status_code


def connect(process: Process, files: Mapping[str, bytes], authority: bytes | None = None) -> grpc.Channel:
    credentials = grpc.ssl_channel_credentials(authority or files[AUTHORITY], files.get(KEY), files.get(CERTIFICATE))
    return grpc.secure_channel(process.target, credentials, [("grpc.ssl_target_name_override", NAME)])


def calls(channel: grpc.Channel) -> Iterator[tuple[str, Any]]:
    """One call of each kind that the port answers."""
    users = user_pb2_grpc.UserServiceStub(channel)
    yield (
        "register",
        lambda: users.Register(user_pb2.RegisterRequest(username="stranger", password=PASSWORD), timeout=3),
    )
    yield "login", lambda: users.Login(user_pb2.LoginRequest(username="stranger", password=PASSWORD), timeout=3)
    health: Any = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service=SERVICE)
    yield "check", lambda: health.Check(request, timeout=3)
    yield "watch", lambda: next(health.Watch(request, timeout=3))
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    names = reflection_pb2.ServerReflectionRequest(list_services="")
    yield "reflection", lambda: next(reflection.ServerReflectionInfo(iter([names]), timeout=3))


def test_gateway_is_served(service: Process, authority: Authority) -> None:
    with connect(service, authority.issue("gateway-svc")) as channel:
        for _, call in calls(channel):
            assert call() is not None


def test_strangers_get_nothing(service: Process, authority: Authority) -> None:
    trusted = {AUTHORITY: authority.pem}
    strangers = {
        "of another authority": (Authority().issue("gateway-svc"), grpc.StatusCode.UNAVAILABLE),
        "without a certificate": (trusted, grpc.StatusCode.UNAVAILABLE),
        "of our authority for a database": (authority.issue("mysql"), grpc.StatusCode.PERMISSION_DENIED),
        "with our name only as common name": (
            authority.issue("mysql", common_name="gateway-svc"),
            grpc.StatusCode.PERMISSION_DENIED,
        ),
    }
    for who, (files, expected) in strangers.items():
        with connect(service, files, authority.pem) as channel:
            for what, call in calls(channel):
                with pytest.raises(grpc.RpcError) as error:
                    call()
                assert code_of(error.value) is expected, (who, what)
    with grpc.insecure_channel(service.target) as channel:
        for what, call in calls(channel):
            with pytest.raises(grpc.RpcError) as error:
                call()
            assert code_of(error.value) is grpc.StatusCode.UNAVAILABLE, what


def test_own_certificate_opens_health_alone(service: Process, authority: Authority) -> None:
    with connect(service, authority.issue(NAME)) as channel:
        for what, call in calls(channel):
            if what in {"check", "watch"}:
                assert call() is not None
            else:
                with pytest.raises(grpc.RpcError) as error:
                    call()
                assert code_of(error.value) is grpc.StatusCode.PERMISSION_DENIED, what
    assert probe(service, "livez") == 200


def test_plain_port_is_told_at_start(tmp_path: Path) -> None:
    with Process("user_svc", cwd=tmp_path) as process:
        process.wait_for("gRPC is not encrypted")
