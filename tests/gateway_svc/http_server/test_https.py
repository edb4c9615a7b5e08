"""The gateway's own HTTPS."""

import contextlib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.gateway_svc.conftest import SECRET, StartGateway, wait_until_ready
from tests.gateway_svc.http_server.conftest import Connect
from tests.support.certificates import AUTHORITY, Authority, Mount
from tests.support.platform import sample
from tests.support.process import Process
from tests.support.users_stub import UsersStub
from tests.support.wait import wait_until


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def mount(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Mount:
    return Mount(tmp_path_factory.mktemp("https") / "tls", authority.issue("localhost"))


@pytest.fixture(scope="module")
def secure(users: UsersStub, mount: Mount, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    env = {
        "JWT_SECRET": SECRET,
        "USER_SERVICE_TARGET": users.target,
        "HEAD_TIMEOUT": "3",
        "FILE_POLL_INTERVAL": "0.1",
        **{name: path for name, path in mount.env("HTTP_TLS").items() if "_CA_" not in name},
    }
    with Process("gateway_svc", env=env, cwd=tmp_path_factory.mktemp("gateway")) as process:
        wait_until_ready(process)
        yield process


def client(mount: Mount) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(mount[AUTHORITY]))


def shown(gateway: Process, mount: Mount) -> int:
    """The serial number of the certificate that a new connection is shown."""
    with (
        socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as plain,
        client(mount).wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        certificate = connection.getpeercert()
        assert certificate is not None
        return int(str(certificate["serialNumber"]), 16)


def test_curl_verifies_the_gateway(secure: Process, mount: Mount) -> None:
    url = f"https://localhost:{secure.port}/api/login"
    body = ["--json", '{"username": "nobody_here", "password": "password123"}']
    command = ["curl", "-sS", "--noproxy", "*", "--resolve", f"localhost:{secure.port}:127.0.0.1", "-w", "%{http_code}"]
    done = subprocess.run(
        [*command, "--cacert", mount[AUTHORITY], *body, url], capture_output=True, text=True, check=False, timeout=20
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("401")
    stranger = subprocess.run([*command, *body, url], capture_output=True, text=True, check=False, timeout=20)
    assert stranger.returncode == 60  # the certificate cannot be verified


def test_renewed_certificate_is_shown_without_restart(secure: Process, mount: Mount, authority: Authority) -> None:
    with httpx.Client(base_url=f"https://localhost:{secure.port}", verify=client(mount), trust_env=False) as http:
        assert http.get("/ping").status_code == 200
        before = shown(secure, mount)
        mount.renew(authority.issue("localhost"))
        wait_until(lambda: shown(secure, mount) != before, 10, what="the new certificate to be shown")
        assert http.get("/ping").status_code == 200  # on the connection from before


def test_plain_http_and_silence_end_the_connection(secure: Process) -> None:
    for sent in (b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n", b""):
        with socket.create_connection(("127.0.0.1", secure.port), timeout=10) as connection:
            connection.sendall(sent)
            received = b""
            try:
                while chunk := connection.recv(4096):
                    received += chunk
            except ConnectionResetError:
                pass
        assert b"pong" not in received


def test_unfinished_handshakes_count_as_connections(
    start_gateway: StartGateway, users: UsersStub, mount: Mount, connect: Connect
) -> None:
    gateway = start_gateway(
        USER_SERVICE_TARGET=users.target,
        MAX_CONNECTIONS="5",
        HEAD_TIMEOUT="3",
        **{name: path for name, path in mount.env("HTTP_TLS").items() if "_CA_" not in name},
    )
    silent = [connect(gateway) for _ in range(10)]
    wait_until(lambda: sample(gateway, "http_connections_refused_total") == 5, 5, what="five to be refused")
    assert all(client.is_closed() for client in silent)  # the others when their time is over
    wait_until(lambda: shown(gateway, mount), 5, what="room for another connection")


BODY_TOO_LARGE = (
    b"POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"
    + b"x" * 70_000
)
HEAD_TOO_LARGE = b"GET /ping HTTP/1.1\r\nHost: x\r\n" + b"X-Field: x\r\n" * 200 + b"\r\n"


@pytest.mark.parametrize(("request_", "status"), [(BODY_TOO_LARGE, 413), (HEAD_TOO_LARGE, 431)], ids=[413, 431])
def test_refused_request_is_answered_and_its_connection_closed(
    secure: Process, mount: Mount, request_: bytes, status: int
) -> None:
    with (
        socket.create_connection(("127.0.0.1", secure.port), timeout=10) as plain,
        client(mount).wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(request_)
        received = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):  # the server may end TLS with a reset
            while chunk := connection.recv(4096):
                received += chunk
    assert received.startswith(b"HTTP/1.1 %d " % status)
    assert [record for record in secure.records if record["level"] == "ERROR"] == []


def test_unusable_files_end_the_start(
    start_gateway: StartGateway, users: UsersStub, mount: Mount, tmp_path: Path
) -> None:
    (tmp_path / "empty").touch()
    env = mount.env("HTTP_TLS")
    gateway = start_gateway(
        wait=False,
        USER_SERVICE_TARGET=users.target,
        HTTP_TLS_CERT_FILE=env["HTTP_TLS_CERT_FILE"],
        HTTP_TLS_KEY_FILE=str(tmp_path / "empty"),
    )
    assert gateway.wait() == 2
    assert "error: HTTP_TLS_KEY_FILE: " in gateway.output
    assert "Traceback" not in gateway.output
