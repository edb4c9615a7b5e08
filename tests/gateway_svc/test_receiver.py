"""A gateway and the receiver of its spans: whatever that one does, requests and the end of the process go on."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.gateway_svc.conftest import CREDENTIALS, SECRET, StartGateway
from tests.support.etcd import free_port
from tests.support.otlp import HungReceiver, Receiver, environment
from tests.support.process import Process
from tests.support.users_stub import UsersStub
from tests.support.wait import wait_until

PROTOCOLS = ["http/protobuf", "grpc"]
CANNOT = "spans cannot be sent"
KEY = "s3cret-of-the-receiver"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(params=PROTOCOLS)
def receiver(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    with Receiver(request.param) as receiver:
        yield receiver


def url(gateway: Process, path: str = "/ping") -> str:
    return f"http://127.0.0.1:{gateway.port}{path}"


def causes(gateway: Process) -> list[str]:
    return [record["cause"] for record in gateway.records if CANNOT in record["message"]]


def is_all_json(gateway: Process) -> bool:
    return len(gateway.records) == len(gateway.output.splitlines())


def stop(gateway: Process) -> None:
    """End it in the time that it has at the most: a second for the last spans, and something for a loaded machine."""
    gateway.terminate()
    assert gateway.wait(5) == 0
    assert gateway.records[-1]["message"] == "stopped"


def test_exported_failures_contain_no_messages(
    start_gateway: StartGateway, users: UsersStub, receiver: Receiver
) -> None:
    gateway = start_gateway(USER_SERVICE_TARGET=users.target, **receiver.env)
    users.refusal = 777, "c4naryzq"
    answer = httpx.post(url(gateway, "/api/login"), json=CREDENTIALS)
    spans = receiver.trace(answer.headers["x-trace-id"], 2)
    found = {span.kind: (span.name, span.failed, span.attributes.get("error.type")) for span in spans}
    assert found == {
        "SERVER": ("POST /api/login", True, "500"),
        "CLIENT": ("user.v1.UserService/Login", False, None),
    }
    assert users.metadata[-1]["traceparent"] in [f"00-{span.trace_id}-{span.id}-01" for span in spans if span.parent]
    assert not [span for span in spans if span.message.events or span.message.status.message]
    assert b"c4naryzq" not in b"".join(receiver.raw)


def test_the_last_spans_are_sent_when_it_stops(
    start_gateway: StartGateway, users: UsersStub, receiver: Receiver
) -> None:
    env = {**receiver.env, "OTEL_BSP_SCHEDULE_DELAY": "600000", "OTEL_SERVICE_NAME": "edge"}
    gateway = start_gateway(USER_SERVICE_TARGET=users.target, **env)
    trace_id = httpx.get(url(gateway)).headers["x-trace-id"]
    stop(gateway)
    assert [(span.service, span.trace_id) for span in receiver.spans] == [("edge", trace_id)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_SAMPLER_ARG", "c4naryzq"),  # checked with all settings
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many"),  # checked by the SDK
    ],
)
@pytest.mark.parametrize("module", ["gateway_svc", "user_svc"])
def test_a_malformed_variable_is_named_in_one_line(tmp_path: Path, module: str, name: str, value: str) -> None:
    env = {**environment(1), "JWT_SECRET": SECRET, "USER_SERVICE_TARGET": "ipv4:127.0.0.1:1", name: value}
    with Process(module, env=env, cwd=tmp_path) as process:
        assert process.wait() == 2
        assert process.output.startswith(f"error: {name}")
        assert process.output.count("\n") == 1
        assert "c4naryzq" not in process.output


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_hanging_receiver_delays_nothing(start_gateway: StartGateway, users: UsersStub, protocol: str) -> None:
    with HungReceiver() as hung, httpx.Client() as client:
        env = {
            **environment(hung.port, protocol),
            "OTEL_BSP_MAX_QUEUE_SIZE": "256",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "64",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        }
        gateway = start_gateway(USER_SERVICE_TARGET=users.target, **env)
        memory = []
        for _ in range(3):
            for _ in range(800):
                assert client.get(url(gateway), timeout=5).status_code == 200
            memory.append(psutil.Process(gateway.pid).memory_info().rss)
        wait_until(lambda: causes(gateway), 15, what="a line that says so")
        wait_until(lambda: hung.connections, 1, what="the receiver to have been called")
        stop(gateway)
    # the queue was full before the first measurement; the 1,600 spans after it, if kept, take 4.6 MB
    assert memory[-1] - memory[0] < 2_500_000, memory
    assert len(causes(gateway)) == 1
    assert is_all_json(gateway)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_each_receiver_state_is_logged_once(start_gateway: StartGateway, users: UsersStub, protocol: str) -> None:
    port = free_port()
    env = {
        **environment(port, protocol),
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-api-key={KEY}",
        "LOG_LEVEL": "DEBUG",
    }
    gateway = start_gateway(USER_SERVICE_TARGET=users.target, **env)

    def asked(condition: str) -> bool:
        httpx.get(url(gateway))
        return condition in gateway.output

    away = {"http/protobuf": "Connection refused", "grpc": "UNAVAILABLE"}[protocol]
    refused = {"http/protobuf": "403 Forbidden", "grpc": "UNAUTHENTICATED"}[protocol]
    wait_until(lambda: asked(away), 30, what="the first line", interval=0.1)
    with Receiver(protocol, port) as receiver:
        receiver.refusal = 403
        wait_until(lambda: asked(refused), 30, what="the second line", interval=0.1)
        failures = len(receiver.headers)
        wait_until(lambda: asked("") and len(receiver.headers) > failures + 2, 30, what="more refusals", interval=0.1)
        receiver.refusal = 0
        wait_until(lambda: asked("spans are sent again"), 30, what="the third line", interval=0.1)
        stop(gateway)
    # a loaded machine may add that a receiver took too long
    assert [cause for cause in causes(gateway) if cause in {away, refused}] == [away, refused]
    assert is_all_json(gateway)
    assert KEY not in gateway.output
    assert "the receiver's own words" not in gateway.output
    assert f":{port}" not in gateway.output


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_receiver_without_tls_logs_one_line(start_gateway: StartGateway, users: UsersStub, protocol: str) -> None:
    with Receiver(protocol) as receiver:
        env = {**receiver.env, "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://127.0.0.1:{receiver.port}"}
        gateway = start_gateway(USER_SERVICE_TARGET=users.target, **env, OTEL_EXPORTER_OTLP_TIMEOUT="0.2")
        httpx.get(url(gateway))
        wait_until(lambda: causes(gateway), 15, what="the line")
        stop(gateway)
    assert causes(gateway)[0] == {"http/protobuf": "WRONG_VERSION_NUMBER", "grpc": "UNAVAILABLE"}[protocol]
    assert is_all_json(gateway)


def test_callers_may_decide_on_sampling(start_gateway: StartGateway, users: UsersStub, receiver: Receiver) -> None:
    env = {**receiver.env, "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
    gateway = start_gateway(USER_SERVICE_TARGET=users.target, **env)
    caller = "00-{}-00f067aa0ba902b7-{}"
    for headers in [{}, {"traceparent": caller.format("ab" * 16, "00")}, {"traceparent": caller.format(TRACE, "01")}]:
        answer = httpx.post(url(gateway, "/api/login"), json=CREDENTIALS, headers=headers)
        assert answer.headers["x-trace-id"] in users.metadata[-1]["traceparent"]
    stop(gateway)
    assert {span.trace_id for span in receiver.spans} == {TRACE}


@pytest.mark.parametrize("off", [{}, {"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_when_off_opentelemetry_is_not_even_imported(
    start_gateway: StartGateway, users: UsersStub, off: dict[str, str]
) -> None:
    with Receiver() as receiver:
        env = {**receiver.env, **off} if off else {"OTEL_TRACES_SAMPLER": "always_on"}
        gateway = start_gateway(USER_SERVICE_TARGET=users.target, PYTHONPROFILEIMPORTTIME="1", **env)
        answer = httpx.post(url(gateway, "/api/login"), json=CREDENTIALS)
        stop(gateway)
        assert not receiver.raw
    assert "traceparent" not in users.metadata[-1]
    assert users.metadata[-1]["x-trace-id"] == answer.headers["x-trace-id"]
    assert "| service_kit.telemetry.tracing" in gateway.output.replace("|   ", "| ").replace("  ", "")
    assert "opentelemetry" not in gateway.output
