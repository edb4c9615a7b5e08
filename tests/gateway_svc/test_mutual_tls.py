"""The gateway's side of mutual TLS with the user services."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx
import pytest

from service_kit.files import File, Reader, TlsFiles, Use
from service_kit.grpc_tls import server_credentials
from tests.gateway_svc.conftest import CREDENTIALS, StartGateway
from tests.support.certificates import AUTHORITY, CERTIFICATE, KEY, Authority, Mount
from tests.support.platform import sample
from tests.support.process import Process
from tests.support.traffic import Traffic, post
from tests.support.users_stub import UsersStub
from tests.support.wait import wait_until

INTERVAL = 0.1


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def server(authority: Authority, tmp_path: Path) -> Mount:
    return Mount(tmp_path / "user-svc", authority.issue("user-svc"))


@pytest.fixture
def client(authority: Authority, tmp_path: Path) -> Mount:
    return Mount(tmp_path / "gateway-svc", authority.issue("gateway-svc"))


@pytest.fixture
def targets(server: Mount) -> Iterator[str]:
    """Two instances that read their certificate again."""
    reader = Reader(INTERVAL)
    certificate, key, authority = (File(name, server[name]) for name in (CERTIFICATE, KEY, AUTHORITY))
    files = TlsFiles(certificate, key, authority, (Use.SERVER, Use.CLIENT)).follow(reader)
    reader.start()
    with ExitStack() as stack:
        stubs = [stack.enter_context(UsersStub(credentials=server_credentials(files))) for _ in range(2)]
        yield "ipv4:" + ",".join(stub.address for stub in stubs)
    reader.stop()


def has_taken(gateway: Process, mount: Mount, times: int) -> bool:
    return sample(gateway, "file_reloads_total", file=str(mount[CERTIFICATE]), result="taken") >= times


def test_no_request_is_lost_while_leaves_rotate(
    start_gateway: StartGateway, targets: str, authority: Authority, server: Mount, client: Mount
) -> None:
    gateway = start_gateway(USER_SERVICE_TARGET=targets, FILE_POLL_INTERVAL=str(INTERVAL), **client.env("GRPC_TLS"))
    url = f"http://127.0.0.1:{gateway.port}"
    with Traffic(post(url, "/api/register", CREDENTIALS), rate=40) as traffic:
        for renewals in range(1, 11):
            client.renew(authority.issue("gateway-svc"))
            server.renew(authority.issue("user-svc"))
            wait_until(partial(has_taken, gateway, client, renewals), 20, what="the certificate to be taken")
            traffic.wait_for(4)
    assert traffic.others(200, 409) == []


@pytest.mark.parametrize("name", ["another-service", "127.0.0.1", "User.v1.UserService"])
def test_server_without_the_name_is_not_used(
    start_gateway: StartGateway, targets: str, client: Mount, name: str
) -> None:
    gateway = start_gateway(
        wait=False, USER_SERVICE_TARGET=targets, GRPC_TLS_SERVER_NAME=name, **client.env("GRPC_TLS")
    )
    answer = httpx.post(f"http://127.0.0.1:{gateway.port}/api/register", json=CREDENTIALS, timeout=15)
    assert answer.status_code == 503
    line = gateway.wait_for("the user service did not answer")
    assert "Hostname Verification Check failed" in line["cause"]


def test_plain_gateway_tells_so_at_start(start_gateway: StartGateway, targets: str) -> None:
    gateway = start_gateway(wait=False, USER_SERVICE_TARGET=targets)
    gateway.wait_for("gRPC is not encrypted")
