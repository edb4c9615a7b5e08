"""The settings of the loop."""

from pathlib import Path

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from service_kit.settings import EtcdTlsSettings, LogSettings, RegistrySettings, hosts_and_ports


class AuthSettings(LogSettings, RegistrySettings, EtcdTlsSettings):
    """Which users etcd must have, and under which prefix they may work."""

    etcd_address: str
    """`host:port` of the member to keep in order"""

    root_password: SecretStr = Field(min_length=1)
    """Password of etcd's user root"""
    registrar_username: str = Field(default="registrar", pattern=r"^[A-Za-z0-9._-]+$")
    """User that may write under `REGISTRY_PREFIX`"""
    registrar_password: SecretStr = Field(min_length=1)
    """Password of that user"""
    registrar_password_file: Path | None = None
    """The file that the password was read from, and is read from again."""
    resolver_username: str = Field(default="resolver", pattern=r"^[A-Za-z0-9._-]+$")
    """User that may only read under `REGISTRY_PREFIX`"""
    resolver_password: SecretStr = Field(min_length=1)
    """Password of that user"""
    resolver_password_file: Path | None = None
    """The file that the password was read from, and is read from again."""

    interval: float = Field(default=10.0, gt=0, le=600)
    """Seconds between two checks"""
    auth_on_file: Path = Path("/tmp/auth-is-on")  # noqa: S108  # the pod's own, read by a probe
    """File that exists while authentication is known to be on"""

    @field_validator("etcd_address")
    @classmethod
    def _is_one_member(cls, value: str) -> str:
        if len(hosts_and_ports(value)) != 1:
            raise ValueError("must be the host:port of one member")
        return value

    @field_validator("resolver_username")
    @classmethod
    def _are_different(cls, value: str, info: ValidationInfo) -> str:
        if "root" in {value, info.data.get("registrar_username")} or value == info.data.get("registrar_username"):
            raise ValueError("root, the registrar and the resolver must have different names")
        return value
