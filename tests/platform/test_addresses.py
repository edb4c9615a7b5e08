"""The addresses that the ports are reached under: alike for HTTP, gRPC and the admin ports."""

import secrets
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx
import pytest

from service_kit.ports import join
from tests.support.etcd import Etcd
from tests.support.mariadb import Server, server_binary
from tests.support.namespace import in_namespace, on_a_thread, without_ipv6_sockets
from tests.support.process import Process
from tests.support.wait import wait_until

BOTH = {"127.0.0.1", "::1"}
SETTINGS_FRAME = b"\0\0\0\4\0\0\0\0\0"


def answers(address: str, port: int, request: bytes, expected: bytes) -> bool:
    try:
        with socket.create_connection((address, port), timeout=10) as connection:
            connection.sendall(request)
            return expected in connection.recv(4096)
    except OSError:
        return False


def gets(address: str, port: int, path: str) -> bool:
    return answers(address, port, b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode(), b" 200 OK\r\n")


def speaks_grpc(address: str, port: int) -> bool:
    """Whether a connection is answered by the SETTINGS of HTTP/2 (RFC 9113, section 3.4)."""
    return answers(address, port, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS_FRAME, b"\4")


def reached(folder: Path, host: str, loopback: str) -> dict[str, set[str]]:
    """Start the platform on `host`, its gateway by way of `loopback`, and return where each port answers."""
    hosts = {"LISTEN_HOST": host, "ADMIN_HOST": host}
    with ExitStack() as running:
        users = running.enter_context(Process("user_svc", env=hosts, cwd=folder))
        users.wait_for("listening", 60)
        target = f"ipv{6 if ':' in loopback else 4}:{join(loopback, users.port)}"
        env = {**hosts, "USER_SERVICE_TARGET": target, "JWT_SECRET": secrets.token_hex(32)}
        gateway = running.enter_context(Process("gateway_svc", env=env, cwd=folder))
        gateway.wait_for("listening", 60)
        wait_until(lambda: gets(loopback, gateway.admin_port, "/readyz"), 30, what="the gateway to be ready")
        checks: dict[str, Callable[[str], bool]] = {
            "http": lambda address: gets(address, gateway.port, "/ping"),
            "grpc": lambda address: speaks_grpc(address, users.port),
            "gateway's admin": lambda address: gets(address, gateway.admin_port, "/livez"),
            "user service's admin": lambda address: gets(address, users.admin_port, "/livez"),
        }
        return {name: set(filter(check, BOTH)) for name, check in checks.items()}


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("0.0.0.0", {"127.0.0.1"}),
        ("::1", {"::1"}),
        ("localhost", {"127.0.0.1"}),
    ],
)
def test_every_port_answers_on_the_same_addresses(tmp_path: Path, host: str, expected: set[str]) -> None:
    found = reached(tmp_path, host, min(expected))
    assert found == dict.fromkeys(found, expected)


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (partial(in_namespace, ipv4=False), {"::1"}),
        (partial(in_namespace, ipv6=False), {"127.0.0.1"}),
        (without_ipv6_sockets, {"127.0.0.1"}),
        (on_a_thread, BOTH),
    ],
    ids=["IPv6 alone", "IPv6 disabled", "no IPv6 in the kernel", "both"],
)
def test_ports_answer_on_all_address_families_by_default(
    tmp_path: Path, machine: Callable[[Callable[[], None]], None], expected: set[str]
) -> None:
    def check() -> None:
        found = reached(tmp_path, "", min(expected))  # which counts as not set
        assert found == dict.fromkeys(found, expected)

    machine(check)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Server]:
    """A database server on ::1 that does not run yet, with a user and the right to make databases."""
    if server_binary() is None:
        pytest.skip("neither mariadbd nor mysqld is on the PATH")
    folder = tmp_path / "db"
    folder.mkdir()
    with Server.create(folder, "--bind-address=::1") as server:
        server.stop()
        yield server


def test_the_whole_platform_runs_on_ipv6_alone(tmp_path: Path, database: Server) -> None:
    etcd = Etcd("--bcrypt-cost=4", host="::1")
    passwords = {name: secrets.token_hex(8) for name in ("root", "registrar", "resolver")}
    on = tmp_path / "auth-is-on"

    def check() -> None:
        with ExitStack() as running:
            running.callback(etcd.close)
            etcd.start(wait=False)
            loop = {f"{name.upper()}_PASSWORD": password for name, password in passwords.items()}
            loop |= {"ETCD_ADDRESS": etcd.endpoint, "AUTH_ON_FILE": str(on), "INTERVAL": "1"}
            running.enter_context(Process("etcd_auth", env=loop, cwd=tmp_path))
            database.start()
            held = database.database()
            wait_until(on.exists, 30, what="etcd to have its users")

            def start(module: str, name: str, **env: str) -> Process:
                account = {"ETCD_ADDRESS": etcd.endpoint, "ETCD_USERNAME": name, "ETCD_PASSWORD": passwords[name]}
                hosts = {"LISTEN_HOST": "", "ADMIN_HOST": ""}
                return running.enter_context(Process(module, env={**hosts, **account, **env}, cwd=tmp_path))

            users = [
                start("user_svc", "registrar", DB_DSN=dsn.replace("127.0.0.1", "[::1]"), **advertised)
                for dsn, advertised in ((held.go_dsn, {"POD_IP": "::1"}), (held.url, {"ADVERTISE_ADDRESS": "[::1]"}))
            ]
            gateway = start("gateway_svc", "resolver", JWT_SECRET=secrets.token_hex(32))
            for process in (*users, gateway):
                process.wait_for("listening", 60)
                wait_until(
                    partial(gets, "::1", process.admin_port, "/readyz"), 30, what=f"{process.module} to be ready"
                )
            known = 'registry_endpoints{service="user"} 2.0'
            metrics = f"http://[::1]:{gateway.admin_port}/metrics"
            wait_until(lambda: known in httpx.get(metrics, trust_env=False).text, 30, what="both to be known")

            account = {"username": "alice", "password": "password123"}
            with httpx.Client(base_url=f"http://[::1]:{gateway.port}", timeout=20, trust_env=False) as client:
                assert client.post("/api/register", json=account).status_code == 200
                for _ in range(4):
                    assert client.post("/api/login", json=account).status_code == 200

                def logins() -> Counter[int]:
                    lines = [line for process in users for line in process.records if line.get("method") == "Login"]
                    return Counter(line["result"] for line in lines)

                wait_until(lambda: logins() == {200: 4})
                assert client.post("/api/register", json=account).status_code == 409
                refused = wait_until(lambda: [line for line in gateway.records if line.get("code") == 409])
                assert refused[0]["peer"] == "::1"

    in_namespace(check, ipv4=False)
