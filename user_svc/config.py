"""The user service's settings."""

import socket
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from service_kit.files import Reader, Use
from service_kit.ports import join
from service_kit.registry import Instance
from service_kit.settings import (
    EtcdSettings,
    FileSettings,
    GrpcTlsSettings,
    LogSettings,
    Port,
    ServerSettings,
    ThrottleMode,
    goes_with,
)
from user_svc import credentials, dsn
from user_svc.database import MAX_OVERFLOW, POOL_SIZE
from user_svc.new_passwords import PasswordCheck

SQLITE_FILE = "users.db"


class DatabaseSettings(LogSettings, FileSettings):
    """Database and password hashing: the settings of commands without a server.

    A field that is checked against others stands below them: pydantic validates in the order of definition.
    """

    data_dir: Path = Path(".data")
    """Folder of the SQLite file"""
    db_dsn_required: bool = False
    """Whether startup fails without `DB_DSN`; true in images, where a SQLite file would be lost with the pod"""
    db_dsn: SecretStr | None = Field(default=None, validate_default=True)
    """`user:pass@tcp(host:3306)/db?charset=utf8mb4&parseTime=True&loc=Local` or `mysql://user:pass@host:3306/db`;
    without it SQLite in `DATA_DIR`. [Parameters](user-service.md#the-database)"""
    db_password: SecretStr | None = None
    """Password of the database, if the DSN contains none"""
    db_password_file: Path | None = None
    """The file that the password was read from, and is read from again."""
    db_ca_file: Path | None = None
    """Certificate authorities of the database's certificate; its chain and host name are verified"""
    db_cert_file: Path | None = None
    """Client certificate, for a database that requires one"""
    db_key_file: Path | None = Field(default=None, validate_default=True)
    """Key of that certificate"""
    db_pool_size: int = Field(default=POOL_SIZE, ge=1, le=1000)
    """Connections to the database that are kept open"""
    db_max_overflow: int = Field(default=MAX_OVERFLOW, ge=0, le=1000)
    """Further connections, opened on demand and closed after use"""
    db_pool_recycle: float | None = Field(default=None, gt=0)
    """Seconds after which a connection is replaced; without it, when the database closes it"""

    bcrypt_cost: int = Field(default=14, ge=10, le=16)
    """Cost of password hashes; hashes of another cost are replaced at login"""
    password_check: PasswordCheck = PasswordCheck.CHANGE
    """When new passwords are checked for how easily they are guessed: `change` of a password, or `off`"""

    @field_validator("db_dsn")
    @classmethod
    def _names_a_database(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None:
            dsn.parse(value.get_secret_value())
        elif info.data.get("db_dsn_required"):
            raise ValueError("DB_DSN is not set, and DB_DSN_REQUIRED leaves no room for SQLite")
        return value

    @field_validator("db_password")
    @classmethod
    def _is_the_only_password(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None and (source := info.data.get("db_dsn")):
            dsn.parse(source.get_secret_value(), value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _has_one_tls(self) -> Self:
        if (files := self.tls_files("DB", Use.CLIENT)) is not None:
            if self.db_dsn is None:
                raise ValueError("DB_CA_FILE and DB_CERT_FILE need a DB_DSN")
            dsn.parse(self.db_dsn.get_secret_value(), files=files)
        return self

    @field_validator("db_key_file")
    @classmethod
    def _database_key_goes_with_certificate(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return goes_with(value, info, "db_cert_file")

    @property
    def database(self) -> dsn.Source:
        """Where the users are kept."""
        if self.db_dsn is None:
            return dsn.sqlite(self.data_dir / SQLITE_FILE)
        password = self.db_password.get_secret_value() if self.db_password else None
        return dsn.parse(self.db_dsn.get_secret_value(), password, self.tls_files("DB", Use.CLIENT))

    def followed_database(self, reader: Reader) -> dsn.Source:
        """Return `database` with the newest password and certificates for each connection.

        Raises:
            UnusableFileError: when a file cannot be used.
        """
        return credentials.follow(self.database, self.secret("db_password", reader), reader)

    @property
    def database_variable(self) -> str:
        """The variable that names the database."""
        return "DATA_DIR" if self.db_dsn is None else "DB_DSN"


class UserSettings(ServerSettings, EtcdSettings, GrpcTlsSettings, DatabaseSettings):
    """All that the user service reads from its environment."""

    listen_port: Port = 8888
    """Port of gRPC; 0 selects a free one"""
    grpc_tls_client_names: str = Field(default="gateway-svc", min_length=1)
    """DNS names, comma separated, of which a client's certificate must contain one"""
    pod_ip: str | None = None
    """IP address that is registered, as Kubernetes provides it; `ADVERTISE_ADDRESS` takes precedence"""
    advertise_address: str | None = Field(default=None, validate_default=True)
    """What is registered: an IP address, alone or with a port, that gateways can reach"""

    grpc_reflection: bool = True
    """Whether gRPC reflection is served"""
    registry_ttl: int = Field(default=10, ge=1, le=3600)
    """Seconds after which a dead instance is no longer registered"""

    hash_slots: int | None = Field(default=None, ge=1, le=256)
    """Concurrent hashes in each hash queue; without it, as many as the cgroup has cores"""
    throttle_mode: ThrottleMode = ThrottleMode.ENFORCE
    """What happens to those who fail too often: `enforce` refuses them (429), `observe` counts and logs them, `off`
    does neither"""

    @field_validator("pod_ip", "advertise_address")
    @classmethod
    def _can_be_dialled(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None:
            address, port = _address_and_port(value)
            if info.field_name == "pod_ip" and port is not None:
                raise ValueError("must be an IP address alone")
            Instance(join(str(address), port or 1))  # refuses what is not a connectable address
        return value

    @field_validator("advertise_address")
    @classmethod
    def _is_known(cls, value: str | None, info: ValidationInfo) -> str | None:
        needed = info.data.get("etcd_address") and not info.data.get("pod_ip")
        if value is None and needed and not _is_dialled(info.data.get("listen_host", "")):
            raise ValueError(
                "ADVERTISE_ADDRESS is not set; with ETCD_ADDRESS it, POD_IP or an IP address in LISTEN_HOST says what "
                "to register"
            )
        return value

    @property
    def client_names(self) -> tuple[str, ...]:
        """The names of `grpc_tls_client_names`."""
        return tuple(name for part in self.grpc_tls_client_names.split(",") if (name := part.strip()))

    @property
    def instance(self) -> str:
        """The name of this instance in logs: what is registered, or the host's name."""
        return self.advertise_address or self.pod_ip or socket.gethostname()

    def advertised(self, port: int) -> str:
        """Return the `ip:port` to register when the service listens on `port`; IPv6 addresses stand in brackets."""
        address, explicit = _address_and_port(self.advertise_address or self.pod_ip or self.listen_host)
        return join(str(address), explicit or port)


def _address_and_port(value: str) -> tuple[IPv4Address | IPv6Address, int | None]:
    """Split an IP address, `ipv4:port` or `[ipv6]:port`.

    Raises:
        ValueError: when it is none of these.
    """
    with suppress(ValueError):
        return ip_address(value.removeprefix("[").removesuffix("]")), None
    host, _, port = value.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    with suppress(ValueError):
        address = ip_address(host[1:-1] if bracketed else host)
        if bracketed == (address.version == 6) and port.isascii() and port.isdigit() and 0 < int(port) < 65536:
            return address, int(port)
    raise ValueError("must be an IP address, alone or with a port: gateways dial what is registered")


def _is_dialled(host: str) -> bool:
    try:
        return not ip_address(host).is_unspecified
    except ValueError:
        return False
