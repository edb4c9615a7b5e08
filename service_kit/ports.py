"""Listening sockets: host names, and the error of a port that is not available."""

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import NamedTuple

EVERY_ADDRESS = "::"
"""The host for every address of the machine, IPv4 included, with or without IPv6."""

_BACKLOG = 2048
_IPV4_ADDRESSES = "0.0.0.0"


class PortTakenError(Exception):
    """A port that cannot be listened on; the sentence names the variable."""


class Address(NamedTuple):
    """An address that is listened on."""

    host: str
    """An IP address."""
    port: int

    @property
    def target(self) -> str:
        """The gRPC target under which this process reaches it."""
        if self.host == EVERY_ADDRESS:
            return f"ipv6:[::1]:{self.port},[::ffff:127.0.0.1]:{self.port}"  # a target is of one family
        host = "127.0.0.1" if self.host == _IPV4_ADDRESSES else self.host
        return f"{'ipv6' if ':' in host else 'ipv4'}:{join(host, self.port)}"


def join(host: str, port: int) -> str:
    """Write `host:port`, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listen(variable: str, host: str, port: int) -> socket.socket:
    """Listen on `host`, which is EVERY_ADDRESS, an IP address or a name; port 0 takes any free one.

    0.0.0.0 stands for the addresses of IPv4 alone. Of a name's addresses the first is taken, IPv4 before IPv6.

    Raises:
        PortTakenError: naming `variable`, the setting of the port.
    """
    try:
        return _listen(host, port)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise PortTakenError(f"{variable}: cannot listen on {join(host, port)}: {reason}") from None


def listen_with(bind: Callable[[str], int], variable: str, host: str, port: int) -> Address:
    """Have `bind`, such as grpc.Server.add_insecure_port, listen where listen() would.

    Raises:
        PortTakenError: naming `variable`, the setting of the port.
    """
    with listen(variable, host, port) as tried:  # for the reason of a failure, which gRPC keeps to itself
        numeric, found = socket.getnameinfo(tried.getsockname(), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
        with ExitStack() as ipv6:
            if numeric == _IPV4_ADDRESSES:
                # gRPC takes it for every address, unless it finds those of IPv6 taken.
                port = int(found)
                with suppress(OSError):  # they are, or there is no IPv6
                    ipv6.enter_context(socket.create_server(("::", port), family=socket.AF_INET6))
            tried.close()
            try:
                return Address(numeric, bind(join(numeric, port)))
            except RuntimeError:
                raise PortTakenError(f"{variable}: gRPC cannot listen on {join(host, port)}") from None


def _listen(host: str, port: int) -> socket.socket:
    if host == EVERY_ADDRESS and not socket.has_dualstack_ipv6():
        host = _IPV4_ADDRESSES
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, *_, address = min(addresses, key=lambda found: found[0] != socket.AF_INET)
    return socket.create_server(
        address,
        family=family,
        backlog=_BACKLOG,
        dualstack_ipv6=host == EVERY_ADDRESS,
    )
