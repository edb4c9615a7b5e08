"""OpenTelemetry's own variables, as far as a service must know or check them; its SDK reads them itself."""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, FilePath, SecretStr, ValidationInfo, field_validator

from service_kit.settings.load import ServiceSettings

_QUEUE, _BATCH = 2048, 512
"""The SDK's defaults."""


def _lower(value: object) -> object:
    return value.lower().strip() if isinstance(value, str) else value


def _is_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("must be a URL that begins with http:// or https://, such as http://collector:4318")
    return value


def _is_pairs(value: str) -> str:
    if any("=" not in part or not part.partition("=")[0].strip() for part in value.split(",") if part.strip()):
        raise ValueError("must be name=value, or several of them with commas between")
    return value


def _are_headers(value: SecretStr) -> SecretStr:
    _is_pairs(value.get_secret_value())
    return value


_Url = Annotated[str, AfterValidator(_is_url)]
_Headers = Annotated[SecretStr, AfterValidator(_are_headers)]
_Protocol = Annotated[Literal["http/protobuf", "grpc"], BeforeValidator(_lower)]
_Compression = Annotated[Literal["none", "gzip"], BeforeValidator(_lower)]
_Seconds = Annotated[float, Field(gt=0, le=600)]
_Count = Annotated[int, Field(ge=1, le=1_000_000)]


class TracingSettings(ServiceSettings):
    """Where spans are sent, which ones, and how.

    Names and meanings are OpenTelemetry's; the timeouts of the exporters are seconds, as its Python SDK has it, while
    those of OTEL_BSP_ are milliseconds.
    """

    otel_sdk_disabled: Annotated[Literal["true", "false"], BeforeValidator(_lower)] = "false"
    """`true` turns tracing off, whatever else is set"""
    otel_traces_exporter: Annotated[Literal["otlp", "none"], BeforeValidator(_lower)] = "otlp"
    """`none` turns tracing off as well"""
    otel_exporter_otlp_endpoint: _Url | None = None
    """URL of the receiver; over HTTP, `/v1/traces` is appended"""
    otel_exporter_otlp_traces_endpoint: _Url | None = None
    """The same, with nothing appended"""
    otel_exporter_otlp_protocol: _Protocol = "http/protobuf"
    """Receivers listen for `http/protobuf` on port 4318, for `grpc` on 4317"""
    otel_exporter_otlp_traces_protocol: _Protocol | None = None
    """`OTEL_EXPORTER_OTLP_PROTOCOL` for traces, which takes precedence"""
    otel_exporter_otlp_headers: _Headers | None = None
    """`name=value`, comma separated, such as an API key of the receiver"""
    otel_exporter_otlp_traces_headers: _Headers | None = None
    """`OTEL_EXPORTER_OTLP_HEADERS` for traces, which takes precedence"""
    otel_exporter_otlp_timeout: _Seconds = 10.0
    """**Seconds** for sending a batch, all attempts included, as OpenTelemetry's Python SDK reads it"""
    otel_exporter_otlp_traces_timeout: _Seconds | None = None
    """`OTEL_EXPORTER_OTLP_TIMEOUT` for traces, which takes precedence"""
    otel_exporter_otlp_compression: _Compression = "none"
    """Compression of batches"""
    otel_exporter_otlp_traces_compression: _Compression | None = None
    """`OTEL_EXPORTER_OTLP_COMPRESSION` for traces, which takes precedence"""
    otel_exporter_otlp_certificate: FilePath | None = None
    """Certificate authorities of the receiver's certificate"""
    otel_exporter_otlp_traces_certificate: FilePath | None = None
    """`OTEL_EXPORTER_OTLP_CERTIFICATE` for traces, which takes precedence"""
    otel_exporter_otlp_client_certificate: FilePath | None = None
    """Client certificate, for a receiver that requires one"""
    otel_exporter_otlp_traces_client_certificate: FilePath | None = None
    """`OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE` for traces, which takes precedence"""
    otel_exporter_otlp_client_key: FilePath | None = None
    """Key of that certificate"""
    otel_exporter_otlp_traces_client_key: FilePath | None = None
    """`OTEL_EXPORTER_OTLP_CLIENT_KEY` for traces, which takes precedence"""
    otel_service_name: str | None = None
    """`service.name`"""
    otel_resource_attributes: Annotated[str, AfterValidator(_is_pairs)] | None = None
    """`name=value`, comma separated, such as `deployment.environment.name=test`"""
    otel_traces_sampler: Annotated[
        Literal[
            "always_on",
            "always_off",
            "traceidratio",
            "parentbased_always_on",
            "parentbased_always_off",
            "parentbased_traceidratio",
        ],
        BeforeValidator(_lower),
    ] = "parentbased_always_on"
    """With `parentbased_` a caller's `traceparent` decides if there is one; where clients are not trusted with that,
    use one without"""
    otel_traces_sampler_arg: float = Field(default=1.0, ge=0, le=1)
    """Share of traces, for samplers with `traceidratio`"""
    otel_bsp_schedule_delay: _Count = 5000
    """Milliseconds between batches"""
    otel_bsp_export_timeout: _Count = 30000
    """Milliseconds; the Python SDK does not use it yet"""
    otel_bsp_max_queue_size: _Count = _QUEUE
    """Spans that may wait; more are dropped"""
    otel_bsp_max_export_batch_size: _Count = Field(default=_BATCH, validate_default=True)
    """Spans in a batch"""

    @field_validator("otel_bsp_max_export_batch_size")
    @classmethod
    def _fits_the_queue(cls, value: int, info: ValidationInfo) -> int:
        if value > info.data.get("otel_bsp_max_queue_size", value):
            raise ValueError(f"must be at most OTEL_BSP_MAX_QUEUE_SIZE; it is {_BATCH} unless it is set")
        return value

    @property
    def otel_variables(self) -> dict[str, str] | None:
        """Variables that the SDK needs in its environment, None when no spans are exported."""
        wanted = self.otel_exporter_otlp_endpoint or self.otel_exporter_otlp_traces_endpoint
        if not wanted or self.otel_sdk_disabled == "true" or self.otel_traces_exporter == "none":
            return None
        fields = {name for name in TracingSettings.model_fields if name in self.model_fields_set}
        return {name.upper(): _written(getattr(self, name)) for name in fields}


def _written(value: str | float | Path | SecretStr) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
