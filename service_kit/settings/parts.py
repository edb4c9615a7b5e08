"""The settings that several processes have."""

import re
import socket
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator

from service_kit.ports import EVERY_ADDRESS
from service_kit.registry import DEFAULT_PREFIX, EtcdConfig
from service_kit.settings.load import ServiceSettings
from service_kit.settings.tracing import TracingSettings

Port = Annotated[int, Field(ge=0, le=65535)]

_HOST_AND_PORT = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?\]):(?P<port>[0-9]{1,5})")


def hosts_and_ports(value: str) -> tuple[str, ...]:
    """Split `host:port[,host:port...]`; IPv6 hosts stand in brackets. A scheme such as http:// is dropped.

    Raises:
        ValueError: with a sentence, when a part is not `host:port`.
    """
    parts = tuple(part.strip().removeprefix("http://").rstrip("/") for part in value.split(","))
    for part in parts:
        match = _HOST_AND_PORT.fullmatch(part)
        if match is None or not 0 < int(match["port"]) < 65536:
            raise ValueError("must be host:port, or several of them with commas between; IPv6 as in [::1]:2379")
    return parts


def _is_hosts_and_ports(value: str) -> str:
    hosts_and_ports(value)
    return value


class LogSettings(ServiceSettings):
    """How a service logs."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "json", "text"] = "auto"
    """`auto` is text on a terminal and JSON elsewhere."""

    @property
    def instance(self) -> str:
        """The name of this process in logs and traces: the host's, unless there is a better one."""
        return socket.gethostname()


class AccessLogSettings(LogSettings):
    """How a service logs, one that answers requests."""

    access_log_sample: float = Field(default=1.0, ge=0, le=1)
    """The share of requests that get a line each; those that fail on our side always do."""


class AdminSettings(ServiceSettings):
    """Where /livez, /readyz and /metrics are served."""

    admin_host: str = EVERY_ADDRESS  # the kubelet and Prometheus come from outside the pod
    admin_port: Port = 9090


class ServerSettings(AccessLogSettings, AdminSettings, TracingSettings):
    """What every process reads that serves; a subclass gives `listen_port` its default. Durations are in seconds."""

    listen_host: str = EVERY_ADDRESS
    listen_port: Port
    drain_delay: float = Field(default=2.0, ge=0, le=600)
    """How long to go on answering after SIGTERM, not ready, so that callers turn away first."""
    grace: float = Field(default=20.0, ge=0, le=600)
    """How long what is in flight may take to finish after that."""


class RegistrySettings(ServiceSettings):
    """Where in etcd the registry's keys are."""

    registry_prefix: str = Field(default=DEFAULT_PREFIX, pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$")


class EtcdSettings(RegistrySettings):
    """Where the registry is and under which names it is used."""

    etcd_address: Annotated[str, AfterValidator(_is_hosts_and_ports)] | None = None
    etcd_username: str | None = None
    etcd_password: SecretStr | None = Field(default=None, validate_default=True)
    registry_service: str = Field(default="user", pattern=r"^[A-Za-z0-9._-]+$")

    @field_validator("etcd_password")
    @classmethod
    def _goes_with_username(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if "etcd_username" in info.data and (value is None) != (info.data["etcd_username"] is None):
            raise ValueError(
                "must be set when ETCD_USERNAME is" if value is None else "is set, but ETCD_USERNAME is not"
            )
        return value

    @property
    def etcd_endpoints(self) -> tuple[str, ...]:
        """The etcd members as `host:port`, empty when no registry is used."""
        return hosts_and_ports(self.etcd_address) if self.etcd_address else ()

    @property
    def etcd(self) -> EtcdConfig | None:
        """The etcd of the registry, None when no registry is used."""
        if not self.etcd_endpoints:
            return None
        password = self.etcd_password.get_secret_value() if self.etcd_password else None
        return EtcdConfig(self.etcd_endpoints, self.etcd_username, password)
