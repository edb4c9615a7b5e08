"""The record of an instance and the key it stands under.

Both are those of Kitex's etcd registry, https://github.com/kitex-contrib/registry-etcd, so that services built with
Kitex and this one find each other.
"""

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

DEFAULT_PREFIX = "kitex/registry-etcd"


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a service.

    Raises:
        ValueError: with a sentence, when another process could not connect to `address`.
    """

    address: str
    """`ip:port` that other processes reach it under; an IPv6 address stands in brackets."""
    network: str = "tcp"
    weight: int = 10
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        host, _, port = self.address.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        try:
            ip = ipaddress.ip_address(host[1:-1] if bracketed else host)
        except ValueError:
            raise ValueError("the address must be ip:port") from None
        if bracketed != (ip.version == 6) or "%" in host:
            raise ValueError("an IPv6 address must stand in brackets, without a zone, as in [::1]:8888")
        if ip.is_unspecified or ip.is_multicast:
            raise ValueError(f"nobody can connect to {ip}")
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError("the port must be a number from 1 to 65535")
        if self.network != "tcp":
            raise ValueError("the network must be tcp")

    def encode(self) -> bytes:
        """Return the record's JSON."""
        record = {
            "network": self.network,
            "address": self.address,
            "weight": self.weight,
            "tags": dict(self.tags),
        }
        return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Read a record's JSON.

        Raises:
            ValueError: when it is not the record of an instance that can be connected to.
        """
        record: Any = json.loads(value)
        if not isinstance(record, dict):
            raise ValueError("the record must be a JSON object")  # noqa: TRY004
        return cls(
            record["address"], record.get("network", "tcp"), record.get("weight") or 10, record.get("tags") or {}
        )


def service_prefix(prefix: str, service: str) -> str:
    """Return what the keys of all instances of `service` begin with."""
    return f"{prefix}/{service}/"


def key(prefix: str, service: str, address: str) -> str:
    """Return the key of the instance at `address`."""
    return service_prefix(prefix, service) + address
