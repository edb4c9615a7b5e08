"""The gateway's settings."""

import re
from ipaddress import IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from gateway_svc.throttling import Network
from gateway_svc.tokens import MIN_SECRET_BYTES, Keys, can_sign
from service_kit.files import Contents, File, UnusableFileError, text_of
from service_kit.settings import EtcdSettings, GrpcTlsSettings, Port, ServerSettings, ThrottleMode, goes_with

_ORIGIN = re.compile(
    r"(?!https://[^:]*:443$|http://[^:]*:80$)[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:]+\])(:[1-9][0-9]{0,4})?"
)
"""As browsers write it in the header Origin (RFC 6454, section 6.1): in lower case, without the scheme's own port."""

_MAPPED = IPv6Network("::ffff:0:0/96")

_UNFIT = "a public or private key, a certificate or a JWK, which must not be a secret of HS256"


def _is_usable(secret: SecretStr) -> SecretStr:
    if problem := _problem_of(secret.get_secret_value()):
        raise ValueError(f"JWT_SECRET {problem}")
    return secret


def _problem_of(secret: str) -> str | None:
    """Return why `secret` cannot sign, None when it can."""
    if len(secret.encode()) < MIN_SECRET_BYTES:
        return f"must be at least {MIN_SECRET_BYTES} bytes long"
    if not can_sign(secret):
        return f"is {_UNFIT}; set it to random text, such as the output of `openssl rand -base64 48`"
    return None


def _are_secrets(secrets: SecretStr) -> SecretStr:
    if not all(map(can_sign, _split(secrets.get_secret_value()))):
        raise ValueError(f"JWT_PREVIOUS_SECRETS contains {_UNFIT}; remove it")
    return secrets


def _split(listed: str) -> tuple[str, ...]:
    return tuple(each for part in listed.split(",") if (each := part.strip()))


def _origins(listed: str) -> tuple[str, ...]:
    origins = _split(listed)
    if not all(map(_ORIGIN.fullmatch, origins)):
        raise ValueError(
            "must be origins such as https://app.example.org, with commas between: scheme and host in lower case and a "
            "port that is not the scheme's own, without a path; * is not accepted"
        )
    return origins


def _networks(listed: str) -> tuple[Network, ...]:
    try:
        networks = () if listed.strip() == "none" else tuple(map(ip_network, _split(listed)))
        if not any(each.version == 6 and each.subnet_of(_MAPPED) for each in networks):
            return networks
    except ValueError:
        pass
    raise ValueError(
        "must be `none`, or networks such as 10.0.0.0/8 with commas between, without bits beyond the prefix; write "
        "IPv4-mapped ones as IPv4"
    )


class GatewaySettings(ServerSettings, EtcdSettings, GrpcTlsSettings):
    """The environment variables of the gateway, each the field's name in capitals; durations are in seconds."""

    optional_files: ClassVar[frozenset[str]] = frozenset({"jwt_previous_secrets"})
    listen_port: Port = 8080
    """Port of HTTP; 0 selects a free one"""
    http_tls_cert_file: Path | None = None
    """Certificate for HTTPS on `LISTEN_PORT`; without it HTTP is served"""
    http_tls_key_file: Path | None = Field(default=None, validate_default=True)
    """Key of that certificate"""
    grpc_tls_server_name: str = Field(default="user-svc", min_length=1)
    """DNS name that a user service's certificate must contain"""
    jwt_secret: Annotated[SecretStr, AfterValidator(_is_usable)]
    """Key that signs tokens, at least 32 random bytes: `openssl rand -base64 48`"""
    jwt_secret_file: Path | None = None
    jwt_previous_secrets: Annotated[SecretStr, AfterValidator(_are_secrets)] = SecretStr("")
    """Keys that still verify tokens, comma separated; they may be shorter. A file of these may be missing or empty"""
    jwt_previous_secrets_file: Path | None = None
    jwt_issuer: str = Field(default="video-platform", min_length=1, max_length=255)
    """`iss` of tokens"""
    jwt_audience: str = Field(default="video-platform", min_length=1, max_length=255)
    """`aud` of access tokens of sessions"""
    user_service_target: str | None = Field(default=None, validate_default=True)
    """A [gRPC target](https://github.com/grpc/grpc/blob/master/doc/naming.md) such as `dns:///user-svc:8888`, used
    instead of etcd"""
    docs: bool = True
    """Whether `/docs` and `/openapi.json` are served; otherwise they are 404"""
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_origins)] = Field((), validate_default=False)
    """Origins such as `https://app.example.org`, comma separated, whose pages may read responses in browsers"""
    trusted_proxies: Annotated[tuple[Network, ...] | None, NoDecode, BeforeValidator(_networks)] = Field(
        None, validate_default=False
    )
    """Networks of the proxies whose `X-Forwarded-For` is trusted, comma separated, or `none`; without it addresses are
    not [throttled](gateway.md#throttling)"""
    throttle_mode: ThrottleMode = ThrottleMode.ENFORCE
    """What happens to those who fail too often: `enforce` refuses them (429), `observe` counts and logs them, `off`
    does neither"""
    max_connections: int = Field(default=10_000, ge=1, le=1_000_000)
    """Concurrent client connections; fewer if the limit of open files (`ulimit -n`) is lower"""
    head_timeout: float = Field(default=10.0, gt=0, le=600)
    """Seconds for the head of a request to arrive, and for a new connection to send anything"""
    keep_alive_timeout: int = Field(default=75, ge=1, le=86_400)
    """Seconds that an idle connection is kept, or a response may stay unread; must be longer than the idle timeout of
    the load balancer, or requests are sent into connections that are being closed"""
    body_timeout: float = Field(default=10.0, gt=0, le=600)
    """Seconds for the body of a request to arrive"""

    @field_validator("http_tls_key_file")
    @classmethod
    def _http_key_goes_with_certificate(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return goes_with(value, info, "http_tls_cert_file")

    @field_validator("user_service_target")
    @classmethod
    def _finds_users(cls, target: str | None, info: ValidationInfo) -> str | None:
        if target is None and info.data.get("etcd_address", "malformed") is None:
            raise ValueError("USER_SERVICE_TARGET or ETCD_ADDRESS must be set, or no user service can be found")
        return target

    @property
    def key_files(self) -> tuple[File, ...]:
        """The files that secrets come from; both are read from one version of a mounted Secret."""
        paths = {"jwt_secret": self.jwt_secret_file, "jwt_previous_secrets": self.jwt_previous_secrets_file}
        return tuple(
            File(f"{field}_file".upper(), path, optional=field in self.optional_files)
            for field, path in paths.items()
            if path is not None
        )

    def keys(self, contents: Contents | None = None) -> Keys:
        """Return the keys; those of `key_files` as `contents` has them.

        Raises:
            UnusableFileError: when a file holds what cannot be a secret.
        """
        secret, previous = self.jwt_secret.get_secret_value(), self.jwt_previous_secrets.get_secret_value()
        for file, data in (contents or {}).items():
            text = text_of(file, data)
            if file.optional:
                previous = text
                if not all(map(can_sign, _split(text))):
                    raise UnusableFileError(file, f"contains {_UNFIT}; remove it")
            else:
                secret = text
                if problem := _problem_of(text):
                    raise UnusableFileError(file, f"holds a secret that {problem}")
        return Keys(secret, _split(previous))
