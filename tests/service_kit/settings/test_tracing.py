"""OpenTelemetry's variables: what switches tracing on, what the SDK is given, what is refused."""

from pathlib import Path

import pytest

from service_kit.settings import InvalidSettingsError, TracingSettings, load

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
CANARY = "c4n4ry"


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for field in TracingSettings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)


def variables(monkeypatch: pytest.MonkeyPatch, **env: str) -> dict[str, str] | None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return load(TracingSettings).otel_variables


@pytest.mark.parametrize(
    ("env", "on"),
    [
        ({}, False),
        ({"OTEL_TRACES_SAMPLER": "always_on", "OTEL_SERVICE_NAME": "x"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://[::1]/v1/traces"}, True),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "false"}, True),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_what_switches_tracing_on(monkeypatch: pytest.MonkeyPatch, env: dict[str, str], on: bool) -> None:
    assert (variables(monkeypatch, **env) is not None) is on


def test_the_sdk_also_receives_values_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "headers").write_text(f"authorization=Basic%20{CANARY}==, x-scope = a\n")
    (tmp_path / ".env").write_text("OTEL_SERVICE_NAME=edge\nOTEL_TRACES_SAMPLER=Always_Off\n")
    given = variables(monkeypatch, **ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS_FILE=str(tmp_path / "headers"))
    assert given == {
        **ENDPOINT,
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Basic%20{CANARY}==, x-scope = a",
        "OTEL_SERVICE_NAME": "edge",
        "OTEL_TRACES_SAMPLER": "always_off",
    }
    assert CANARY not in repr(load(TracingSettings))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_SDK_DISABLED", CANARY),
        ("OTEL_TRACES_EXPORTER", "console"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://u:{CANARY}@"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://collector:{CANARY}"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"unix:///{CANARY}"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_HEADERS", CANARY),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", f"a=b=c,,={CANARY}"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10000"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", CANARY),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", f"/{CANARY}"),
        ("OTEL_RESOURCE_ATTRIBUTES", CANARY),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("OTEL_TRACES_SAMPLER_ARG", CANARY),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", CANARY),
    ],
)
def test_what_is_malformed_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    with pytest.raises(InvalidSettingsError) as refused:
        variables(monkeypatch, **{name: value})
    (problem,) = refused.value.problems
    assert problem.startswith(f"{name}: ")
    assert CANARY not in problem


def test_a_batch_fits_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidSettingsError, match="OTEL_BSP_MAX_EXPORT_BATCH_SIZE: must be at most"):
        variables(monkeypatch, OTEL_BSP_MAX_QUEUE_SIZE="100")
    assert variables(monkeypatch, OTEL_BSP_MAX_EXPORT_BATCH_SIZE="100") is None
