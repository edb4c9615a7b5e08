"""Listening sockets."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from service_kit import ports


@pytest.fixture
def bind() -> Iterator[Callable[[str], int]]:
    server = grpc.server(ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
    yield server.add_insecure_port
    server.stop(0)


def refused(host: str, port: int, listen: Callable[[str, str, int], object]) -> str:
    with pytest.raises(ports.PortTakenError) as raised:
        listen("LISTEN_PORT", host, port)
    return str(raised.value)


@pytest.mark.parametrize("taken", ["0.0.0.0", "127.0.0.1", "::"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_taken_port_is_one_sentence(bind: Callable[[str], int], taken: str, host: str) -> None:
    def by_grpc(variable: str, host: str, port: int) -> object:
        return ports.listen_with(bind, variable, host, port)

    with ports.listen("", taken, 0) as listener:
        port = listener.getsockname()[1]
        sentence = f"LISTEN_PORT: cannot listen on {ports.join(host, port)}: Address already in use"
        assert refused(host, port, ports.listen) == refused(host, port, by_grpc) == sentence


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "nobody.invalid"])
def test_foreign_listen_host_is_one_error_message(host: str) -> None:
    assert refused(host, 1024, ports.listen).startswith(f"LISTEN_PORT: cannot listen on {ports.join(host, 1024)}: ")


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("::", "ipv6:[::1]:7,[::ffff:127.0.0.1]:7"),
        ("0.0.0.0", "ipv4:127.0.0.1:7"),
        ("10.1.2.3", "ipv4:10.1.2.3:7"),
        ("fd00::1", "ipv6:[fd00::1]:7"),
    ],
)
def test_a_process_reaches_its_own_port(host: str, target: str) -> None:
    assert ports.Address(host, 7).target == target


def test_ipv4_alone_leaves_the_port_of_ipv6_free(bind: Callable[[str], int]) -> None:
    address = ports.listen_with(bind, "LISTEN_PORT", "0.0.0.0", 0)
    with socket.create_server(("::", address.port), family=socket.AF_INET6):
        assert address.host == "0.0.0.0"
