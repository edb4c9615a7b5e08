"""Listening sockets, and the one error of a port that cannot be had."""

import os
import socket
from collections.abc import Callable

BACKLOG = 2048


class PortTakenError(Exception):
    """A port that cannot be listened on; the sentence names the variable."""


def join(host: str, port: int) -> str:
    """Write `host:port`, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listen(variable: str, host: str, port: int) -> socket.socket:
    """Listen on `host`; port 0 takes any free one.

    Raises:
        PortTakenError: naming `variable`, the setting of the port.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise PortTakenError(f"{variable}: cannot listen on {join(host, port)}: {reason}") from None


def listen_with(bind: Callable[[str], int], variable: str, host: str, port: int) -> int:
    """Have `bind`, such as grpc.Server.add_insecure_port, listen on `host`, and return the port.

    Raises:
        PortTakenError: naming `variable`, the setting of the port.
    """
    listen(variable, host, port).close()  # for the reason, which gRPC keeps to itself
    address = join(host, port)
    try:
        return bind(address)
    except RuntimeError:
        raise PortTakenError(f"{variable}: gRPC cannot listen on {address}") from None
