"""The gateway's settings."""

from pathlib import Path
from typing import Annotated

from jwt.algorithms import HMACAlgorithm
from jwt.exceptions import InvalidKeyError
from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator

from service_kit.settings import EtcdSettings, GrpcTlsSettings, Port, ServerSettings, goes_with

MIN_SECRET_BYTES = 32
"""A key of at least the size of the hash's output (RFC 7518, section 3.2)."""
_UNFIT = "a public or private key, a certificate or a JWK, which must not be a secret of HS256"


def _is_usable(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
        raise ValueError(f"JWT_SECRET must be at least {MIN_SECRET_BYTES} bytes long")
    if not _can_sign(secret.get_secret_value()):
        raise ValueError(f"JWT_SECRET is {_UNFIT}; set it to random text, such as the output of `openssl rand -hex 32`")
    return secret


def _are_secrets(secrets: SecretStr) -> SecretStr:
    if not all(map(_can_sign, _split(secrets))):
        raise ValueError(f"JWT_PREVIOUS_SECRETS contains {_UNFIT}; remove it")
    return secrets


def _split(secrets: SecretStr) -> tuple[str, ...]:
    return tuple(secret for part in secrets.get_secret_value().split(",") if (secret := part.strip()))


def _can_sign(secret: str) -> bool:
    """Whether PyJWT takes `secret` as a key of HS256: it refuses what looks like a key of another algorithm."""
    try:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except InvalidKeyError:
        return False
    return True


class GatewaySettings(ServerSettings, EtcdSettings, GrpcTlsSettings):
    """The environment variables of the gateway, each the field's name in capitals; durations are in seconds."""

    listen_port: Port = 8080
    http_tls_cert_file: Path | None = None
    """With its key, HTTPS is served."""
    http_tls_key_file: Path | None = Field(default=None, validate_default=True)
    grpc_tls_server_name: str = Field(default="user-svc", min_length=1)
    """The DNS name that a user service's certificate must bear."""
    jwt_secret: Annotated[SecretStr, AfterValidator(_is_usable)]
    jwt_previous_secrets: Annotated[SecretStr, AfterValidator(_are_secrets)] = SecretStr("")
    """Comma separated; they verify tokens and sign none, and may be short."""
    jwt_issuer: str = Field(default="video-platform", min_length=1, max_length=255)
    user_service_target: str | None = Field(default=None, validate_default=True)
    """Any gRPC target, such as `dns:///user-svc:8888`; the registry is not asked then."""
    docs: bool = True
    """Whether /docs and /openapi.json are served."""
    max_connections: int = Field(default=10_000, ge=1, le=1_000_000)
    """How many clients may be connected at a time, if the limit of open files allows so many."""
    head_timeout: float = Field(default=10.0, gt=0, le=600)
    """How long a request's head may take to arrive, and a new connection to send anything."""
    keep_alive_timeout: int = Field(default=75, ge=1, le=86_400)
    """How long an idle connection is kept, and an answer may go unread. Must be longer than the load balancer's, so
    that no request is sent into a connection that is being closed."""
    body_timeout: float = Field(default=10.0, gt=0, le=600)
    """How long a request's body may take to arrive."""

    @field_validator("http_tls_key_file")
    @classmethod
    def _goes_with_certificate(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return goes_with(value, info, "http_tls_cert_file")

    @field_validator("user_service_target")
    @classmethod
    def _finds_users(cls, target: str | None, info: ValidationInfo) -> str | None:
        if target is None and info.data.get("etcd_address", "malformed") is None:
            raise ValueError("USER_SERVICE_TARGET or ETCD_ADDRESS must be set, or no user service can be found")
        return target

    @property
    def previous_secrets(self) -> tuple[str, ...]:
        """The secrets of `jwt_previous_secrets`, newest first as they were written."""
        return _split(self.jwt_previous_secrets)
