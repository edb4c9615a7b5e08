"""The sender of a request: the address of the client behind the proxies that are trusted."""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import Scope

Network = IPv4Network | IPv6Network

_PREFIX = 64
"""Prefix length that an IPv6 customer receives at least (RFC 6177, section 2)."""


class ClientAddresses:
    """Finds clients' addresses by the connection and X-Forwarded-For, which is believed as far as proxies are."""

    def __init__(self, trusted: Sequence[Network] | None) -> None:
        """`trusted` are the networks of the proxies that add to X-Forwarded-For; None when that is not known."""
        self._trusted = trusted or ()
        self._is_known = trusted is not None

    def of(self, scope: Scope) -> str | None:
        """Return the IPv4 address or the IPv6 /64 network of the client, None when it cannot be told.

        An entry that is no address ends the way through the proxies: the one that has written it is the client then.
        """
        peer = scope.get("client") if self._is_known else None  # optional in ASGI
        found = _address(peer[0]) if peer else None
        if found is None:
            return None
        if self._is_trusted(found):
            for hop in _forwarded(scope):
                address = _address(hop)
                if address is None:
                    break
                found = address
                if not self._is_trusted(found):
                    break
        return str(found) if found.version == 4 else str(ip_network((int(found) >> _PREFIX << _PREFIX, _PREFIX)))

    def _is_trusted(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._trusted)


def _forwarded(scope: Scope) -> Iterator[str]:
    """Return the entries of X-Forwarded-For from the last to the first, which is the client's own word."""
    lines = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    joined = b",".join(lines).decode("latin-1")
    return (entry.strip(" \t") for entry in reversed(joined.split(","))) if lines else iter(())


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Return an address, an IPv4-mapped one (RFC 4291, section 2.5.5.2) as IPv4."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address
