"""The settings that several processes have."""

import logging
import re
import socket
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import grpc
from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator

from service_kit.files import INTERVAL, File, Reader, TlsFiles, Use, password
from service_kit.grpc_tls import channel_credentials
from service_kit.ports import EVERY_ADDRESS
from service_kit.registry import DEFAULT_PREFIX, EtcdConfig
from service_kit.settings.load import ServiceSettings
from service_kit.settings.tracing import TracingSettings

Port = Annotated[int, Field(ge=0, le=65535)]

T = TypeVar("T")

logger = logging.getLogger(__name__)

_SCHEME = re.compile(r"https?://")
_HOST_AND_PORT = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?\]):(?P<port>[0-9]{1,5})")


def hosts_and_ports(value: str) -> tuple[str, ...]:
    """Split `host:port[,host:port...]`; IPv6 hosts stand in brackets. A scheme, http:// or https://, is dropped.

    Raises:
        ValueError: when a part is not `host:port`.
    """
    parts = tuple(_SCHEME.sub("", part.strip(), count=1).rstrip("/") for part in value.split(","))
    for part in parts:
        match = _HOST_AND_PORT.fullmatch(part)
        if match is None or not 0 < int(match["port"]) < 65536:
            raise ValueError("must be host:port, or several of them with commas between; IPv6 as in [::1]:2379")
    return parts


def wants_tls(addresses: str) -> bool:
    """Whether `host:port[,host:port...]` begin with https://.

    Raises:
        ValueError: when some do and some do not.
    """
    secure = {part.strip().startswith("https://") for part in addresses.split(",")}
    if len(secure) > 1:
        raise ValueError("must begin with https:// for all members or for none")
    return secure.pop()


def _is_hosts_and_ports(value: str) -> str:
    hosts_and_ports(value)
    wants_tls(value)
    return value


def goes_with(value: T | None, info: ValidationInfo, other: str) -> T | None:
    """Check that a setting is set if, and only if, the one is that the field `other` above it holds.

    Raises:
        ValueError: when only one of the two is set.
    """
    if other in info.data and (value is None) != (info.data[other] is None):
        name = other.upper()
        raise ValueError(f"must be set when {name} is" if value is None else f"is set, but {name} is not")
    return value


class ThrottleMode(StrEnum):
    """What happens to clients that exceed a limit."""

    ENFORCE = "enforce"
    OBSERVE = "observe"
    """What would be refused is counted, logged and accepted."""
    OFF = "off"


class LogSettings(ServiceSettings):
    """How a service logs."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Lowest level that is logged; lines on startup and shutdown always are"""
    log_format: Literal["auto", "json", "text"] = "auto"
    """`auto` is text on a terminal and JSON elsewhere"""

    @property
    def instance(self) -> str:
        """The name of this process in logs and traces: the host's, unless there is a better one."""
        return socket.gethostname()


class FileSettings(ServiceSettings):
    """How mounted files are followed."""

    file_poll_interval: float = Field(default=INTERVAL, gt=0, le=INTERVAL)
    """Seconds between two checks of certificates, keys and passwords in files"""

    def tls_files(self, prefix: str, *uses: Use) -> TlsFiles | None:
        """Return the files in the settings <prefix>_CERT_FILE, _KEY_FILE and _CA_FILE, None when none is set."""
        names = [f"{prefix}_{part}_FILE" for part in ("CERT", "KEY", "CA")]
        certificate, key, authorities = (
            File(name, path) if (path := getattr(self, name.lower(), None)) else None for name in names
        )
        return TlsFiles(certificate, key, authorities, uses) if certificate or authorities else None

    def secret(self, field: str, reader: Reader) -> Callable[[], str] | None:
        """Return a function for the newest value of the secret `field`, whose file is `<field>_file`; None without one.

        Raises:
            UnusableFileError: when the file cannot be used.
        """
        value: SecretStr | None = getattr(self, field)
        path: Path | None = getattr(self, f"{field}_file")
        if path is not None:
            return reader.follow([File(f"{field}_file".upper(), path)], password).get
        return value.get_secret_value if value is not None else None


class GrpcTlsSettings(FileSettings):
    """Files of mutual TLS between our services: all of them or, for unencrypted gRPC, none."""

    grpc_tls_cert_file: Path | None = None
    """Certificate for mutual [TLS](tls.md) between the services; without it gRPC is not encrypted"""
    grpc_tls_key_file: Path | None = Field(default=None, validate_default=True)
    """Key of that certificate"""
    grpc_tls_ca_file: Path | None = Field(default=None, validate_default=True)
    """Certificate authorities of the peer's certificate"""

    @field_validator("grpc_tls_key_file", "grpc_tls_ca_file")
    @classmethod
    def _go_with_certificate(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return goes_with(value, info, "grpc_tls_cert_file")


class AccessLogSettings(LogSettings):
    """How a service logs, one that answers requests."""

    access_log_sample: float = Field(default=1.0, ge=0, le=1)
    """Share of requests that are logged; 401, 403, 409, 429 and 5xx always are, at most 50 lines a second of each"""


class AdminSettings(ServiceSettings):
    """Where /livez, /readyz and /metrics are served."""

    admin_host: str = EVERY_ADDRESS  # the kubelet and Prometheus connect from outside the pod
    """Address of the admin port, like `LISTEN_HOST`"""
    admin_port: Port = 9090
    """Port of `/livez`, `/readyz` and `/metrics`"""


class ServerSettings(AccessLogSettings, AdminSettings, TracingSettings, FileSettings):
    """Settings of every server process; a subclass gives `listen_port` its default. Durations are in seconds."""

    listen_host: str = EVERY_ADDRESS
    """Address to listen on; `::` is all IPv6 and IPv4 addresses (IPv4 alone on a host without IPv6), `0.0.0.0` all IPv4
    addresses"""
    listen_port: Port
    drain_delay: float = Field(default=2.0, ge=0, le=600)
    """Seconds after SIGTERM in which requests are served while the process is not ready, so that callers stop first"""
    grace: float = Field(default=20.0, ge=0, le=600)
    """Seconds after that in which requests in flight may finish"""


class RegistrySettings(ServiceSettings):
    """Where in etcd the registry's keys are."""

    registry_prefix: str = Field(default=DEFAULT_PREFIX, pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$")
    """Prefix of the registry's keys in etcd"""


class EtcdTlsSettings(FileSettings):
    """Addresses of etcd, the authorities that its certificate is checked with, and the client certificate."""

    etcd_address: Annotated[str, AfterValidator(_is_hosts_and_ports)] | None = None
    """Members of etcd, `host:port`, comma separated; `https://host:port` for [TLS](tls.md). Without it user_svc does
    not register, and gateway_svc needs `USER_SERVICE_TARGET`"""
    etcd_ca_file: Path | None = Field(default=None, validate_default=True)
    """Certificate authorities of etcd's certificate; required with `https://`"""
    etcd_cert_file: Path | None = None
    """Client certificate, for an etcd that requires one"""
    etcd_key_file: Path | None = Field(default=None, validate_default=True)
    """Key of that certificate"""

    @field_validator("etcd_ca_file", "etcd_cert_file")
    @classmethod
    def _go_with_https(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        secure = wants_tls(info.data.get("etcd_address") or "")
        if value is not None and "etcd_address" in info.data and not secure:
            raise ValueError("is set, but ETCD_ADDRESS does not begin with https://")
        if value is None and info.field_name == "etcd_ca_file" and secure:
            raise ValueError("must be set when ETCD_ADDRESS begins with https://")
        return value

    @field_validator("etcd_key_file")
    @classmethod
    def _etcd_key_goes_with_certificate(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return goes_with(value, info, "etcd_cert_file")

    @property
    def etcd_endpoints(self) -> tuple[str, ...]:
        """The etcd members as `host:port`, empty when no registry is used."""
        return hosts_and_ports(self.etcd_address) if self.etcd_address else ()

    def etcd_credentials(self, reader: Reader) -> Callable[[], grpc.ChannelCredentials] | None:
        """Return a function that creates the credentials of a new channel, None when etcd is used without TLS.

        Raises:
            UnusableFileError: when a file cannot be used.
        """
        files = self.tls_files("ETCD", Use.CLIENT)
        if files is None:
            return None
        followed = files.follow(reader)
        if name := followed.value.common_name:
            logger.info(
                "etcd takes the common name of ETCD_CERT_FILE for a user name when authentication is on and "
                "ETCD_USERNAME is not set",
                extra={"common_name": name},
            )
        return lambda: channel_credentials(followed.value)


class EtcdSettings(RegistrySettings, EtcdTlsSettings):
    """Where the registry is and under which names it is used."""

    etcd_username: str | None = None
    """User, for an etcd with authentication"""
    etcd_password: SecretStr | None = Field(default=None, validate_default=True)
    """Password of that user"""
    etcd_password_file: Path | None = None
    """The file that the password was read from, and is read from again."""
    registry_service: str = Field(default="user", pattern=r"^[A-Za-z0-9._-]+$")
    """Name under which user services register and are found"""

    @field_validator("etcd_password")
    @classmethod
    def _goes_with_username(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        return goes_with(value, info, "etcd_username")

    def etcd(self, reader: Reader) -> EtcdConfig | None:
        """Return the etcd of the registry, None when no registry is used; each connection takes the newest files.

        Raises:
            UnusableFileError: when a file cannot be used.
        """
        if not self.etcd_endpoints:
            return None
        return EtcdConfig(
            self.etcd_endpoints,
            self.etcd_username,
            self.secret("etcd_password", reader),
            credentials=self.etcd_credentials(reader),
        )
