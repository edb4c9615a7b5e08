"""The addresses that the ports are reached under: alike for HTTP, gRPC and the admin ports."""

import secrets
import socket
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from service_kit.ports import join
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
def test_by_default_every_port_answers_on_what_there_is(
    tmp_path: Path, machine: Callable[[Callable[[], None]], None], expected: set[str]
) -> None:
    def check() -> None:
        found = reached(tmp_path, "", min(expected))  # which counts as not set
        assert found == dict.fromkeys(found, expected)

    machine(check)
