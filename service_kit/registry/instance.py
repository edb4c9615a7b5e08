"""The record of an instance and its key.

Both are those of Kitex's etcd registry, https://github.com/kitex-contrib/registry-etcd, so that services built with
Kitex and this one find each other.
"""

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

DEFAULT_PREFIX = "kitex/registry-etcd"
DEFAULT_WEIGHT = 10


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a service.

    Raises:
        ValueError: when another process could not connect to it.
    """

    address: str
    """`ip:port` at which other processes reach it; an IPv6 address is in brackets."""
    network: str = "tcp"
    weight: int = DEFAULT_WEIGHT
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        _check_address(self.address)
        if self.network != "tcp":
            raise ValueError("the network must be tcp")
        if type(self.weight) is not int or self.weight <= 0:
            raise ValueError("the weight must be a positive integer")
        if not all(isinstance(text, str) for tag in self.tags.items() for text in tag):
            raise ValueError("tags must be texts")
        object.__setattr__(self, "tags", MappingProxyType(dict(self.tags)))

    def encode(self) -> bytes:
        """Return the record's JSON."""
        record = {"network": self.network, "address": self.address, "weight": self.weight, "tags": dict(self.tags)}
        return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read a record's JSON as Kitex does: no weight is the default weight, tags may be null.

        Raises:
            ValueError: when it is not the record of an instance that can be connected to.
        """
        try:
            record: Any = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError("the record is not JSON") from None
        if not isinstance(record, dict):
            raise ValueError("the record is not a JSON object")  # noqa: TRY004  # junk has one kind of error
        address, network = record.get("address"), record.get("network")
        weight, tags = record.get("weight") or 0, record.get("tags") or {}
        if not isinstance(address, str) or not isinstance(network, str):
            raise ValueError("network or address is missing")  # noqa: TRY004
        if type(weight) is not int or not isinstance(tags, dict):
            raise ValueError("weight or tags are of the wrong type")
        return cls(_bracketed(address), network, weight if weight > 0 else DEFAULT_WEIGHT, tags)


def service_prefix(prefix: str, service: str) -> str:
    """Return the key prefix of all instances of `service`."""
    return f"{prefix.strip('/')}/{service}/"


def key(prefix: str, service: str, address: str) -> str:
    """Return the key of the instance at `address`."""
    return service_prefix(prefix, service) + address


def decode_at(at: str, value: bytes, lease: int) -> Instance:
    """Read the record at the key `at`, whose last part must be its address.

    Raises:
        ValueError: when the record cannot be used, or `lease` is 0: instances register under a lease.
    """
    if not lease:
        raise ValueError("the key has no lease")
    instance = Instance.decode(value)
    if _bracketed(at.rpartition("/")[2]) != instance.address:
        raise ValueError("the record's address is not the one in its key")
    return instance


def _check_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        ip = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        raise ValueError("the address must be ip:port") from None
    if bracketed != (ip.version == 6) or "%" in host:
        raise ValueError("an IPv6 address must stand in brackets, without a zone, as in [::1]:8888")
    if ip.is_unspecified or ip.is_multicast:
        raise ValueError(f"{ip} is not a connectable address")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError("the port must be a number from 1 to 65535")


def _bracketed(address: str) -> str:
    # Kitex writes the IPv6 addresses of its instances without brackets.
    host, _, port = address.rpartition(":")
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else address
