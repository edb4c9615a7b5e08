"""The gateway's settings."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator

from service_kit.settings import EtcdSettings, Port, ServerSettings

MIN_SECRET_BYTES = 32
"""A key of at least the size of the hash's output (RFC 7518, section 3.2)."""


def _is_long_enough(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
        raise ValueError(f"JWT_SECRET must be at least {MIN_SECRET_BYTES} bytes long")
    return secret


class GatewaySettings(ServerSettings, EtcdSettings):
    """The environment variables of the gateway, each the field's name in capitals; durations are in seconds."""

    listen_port: Port = 8080
    jwt_secret: Annotated[SecretStr, AfterValidator(_is_long_enough)]
    jwt_previous_secrets: SecretStr = SecretStr("")
    """Comma separated; they verify tokens and sign none, and may be short."""
    jwt_issuer: str = Field(default="video-platform", min_length=1, max_length=255)
    user_service_target: str | None = Field(default=None, validate_default=True)
    """Any gRPC target, such as `dns:///user-svc:8888`; the registry is not asked then."""
    body_timeout: float = Field(default=10.0, gt=0, le=600)
    """How long a request's body may take to arrive."""

    @field_validator("user_service_target")
    @classmethod
    def _finds_users(cls, target: str | None, info: ValidationInfo) -> str | None:
        if target is None and info.data.get("etcd_address", "malformed") is None:
            raise ValueError("USER_SERVICE_TARGET or ETCD_ADDRESS must be set, or no user service can be found")
        return target

    @property
    def previous_secrets(self) -> tuple[str, ...]:
        """The secrets of `jwt_previous_secrets`, newest first as they were written."""
        return tuple(
            secret for part in self.jwt_previous_secrets.get_secret_value().split(",") if (secret := part.strip())
        )
