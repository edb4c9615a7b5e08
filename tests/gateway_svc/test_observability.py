"""Metrics and access log: complete, bounded, and out of a client's reach."""

import itertools
import json
import re
import secrets
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import grpc
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service_kit.telemetry.metrics import VERSION
from tests.gateway_svc.conftest import CREDENTIALS, StartGateway, admin, raw
from tests.support.process import Process
from tests.support.users_stub import UsersStub
from tests.support.wait import wait_until

FORGED = '{"level":"INFO","message":"request","status":200,"forged":true}'


@pytest.fixture
def own(start_gateway: StartGateway, users: UsersStub) -> Iterator[tuple[Process, httpx.Client]]:
    """A gateway whose metrics belong to this test alone."""
    gateway = start_gateway(USER_SERVICE_TARGET=users.target)
    with httpx.Client(base_url=f"http://127.0.0.1:{gateway.port}") as client:
        yield gateway, client


def samples(gateway: Process) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(admin(gateway, "/metrics").text)
        for sample in family.samples
    }


def requests(gateway: Process) -> dict[tuple[str, ...], float]:
    return {
        tuple(value for _, value in labels): count
        for (name, labels), count in samples(gateway).items()
        if name == "http_requests_total" and count
    }


def test_requests_are_counted_by_route(own: tuple[Process, httpx.Client]) -> None:
    gateway, client = own
    client.get("/ping")
    client.head("/ping")
    client.get("/ping?x=1")
    client.post("/api/login", json={**CREDENTIALS, "password": "another"})
    client.post("/api/login", json={})
    client.get("/api/profile")
    client.get("/nowhere")
    client.post("/c4naryzq/../x")
    client.delete("/ping")
    client.request("TRACE", "/ping")
    client.get("/docs")
    client.get("/docs/start.js")
    assert requests(gateway) == {
        ("GET", "/ping", "200"): 2,
        ("HEAD", "/ping", "200"): 1,
        ("POST", "/api/login", "401"): 1,
        ("POST", "/api/login", "400"): 1,
        ("GET", "/api/profile", "401"): 1,
        ("other", "unmatched", "404"): 2,
        ("other", "/ping", "405"): 2,
        ("other", "/docs", "200"): 2,
    }


def test_durations_are_those_of_contract_operations(own: tuple[Process, httpx.Client]) -> None:
    gateway, client = own
    for path in ("/ping", "/nowhere", "/docs", "/openapi.json"):
        client.get(path)
    found = samples(gateway)
    counts = {labels: count for (name, labels), count in found.items() if name == "http_request_duration_seconds_count"}
    observed = {tuple(value for _, value in labels): count for labels, count in counts.items()}
    assert {("GET", "/api/profile"), ("POST", "/api/login"), ("DELETE", "/api/sessions/{session_id}")} < set(observed)
    assert {operation: count for operation, count in observed.items() if count} == {("GET", "/ping"): 1}
    buckets = [labels for name, labels in found if name == "http_request_duration_seconds_bucket"]
    assert len(buckets) <= 10 * len(counts)
    assert not [name for name, _ in found if name.endswith("_created")]
    assert found["build_info", (("version", VERSION),)] == 1


def test_requests_in_flight(own: tuple[Process, httpx.Client]) -> None:
    gateway, client = own
    key: Any = ("http_requests_in_flight", ())
    head = b"POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(head)
        wait_until(lambda: samples(gateway)[key] == 1, 5, what="the request to be counted as in flight")
    wait_until(lambda: samples(gateway)[key] == 0, 5, what="the request to be over")
    assert client.get("/ping").status_code == 200
    assert requests(gateway) == {("POST", "/api/login", "499"): 1, ("GET", "/ping", "200"): 1}


def test_each_request_is_one_line(own: tuple[Process, httpx.Client]) -> None:
    gateway, client = own
    answer = client.get("/ping", headers={"X-Trace-ID": "t-1"})
    assert answer.status_code == 200
    wait_until(lambda: [r for r in gateway.records if r["trace_id"] == "t-1"], 5, what="the line")
    (line,) = [record for record in gateway.records if record["message"] == "request"]
    assert (
        line.items()
        >= {
            "method": "GET",
            "route": "/ping",
            "code": 200,
            "trace_id": "t-1",
            "level": "INFO",
            "service": "gateway_svc",
        }.items()
    )
    assert 0 < line["duration"] < 5


def test_client_input_forges_no_log_line(own: tuple[Process, httpx.Client]) -> None:
    gateway, client = own
    quoted = json.dumps(FORGED)[1:-1]
    for header in (
        "X-Trace-ID",
        "User-Agent",
        "Referer",
        "X-Forwarded-For",
        "traceparent",
        "tracestate",
        "Authorization",
        "Accept",
    ):
        client.get("/api/profile", headers={header: f"x {FORGED}"})
    client.get("/" + FORGED.replace('"', "%22"))
    client.get("/%0a" + FORGED.replace('"', "%22") + "%0a", params={"x": FORGED})
    client.post("/api/login", content=FORGED, headers={"Content-Type": "application/json"})
    raw(gateway, b"GET /ping HTTP/1.1\r\nHost: x\r\n" + FORGED.encode() + b"\r\n\r\n")
    client.get("/ping", headers={"X-Trace-ID": "last"})
    gateway.wait_for("request")
    wait_until(lambda: gateway.records[-1]["trace_id"] == "last", 5, what="the last line")
    assert "forged" not in gateway.output
    assert quoted not in gateway.output
    for line in gateway.output.splitlines():
        assert re.fullmatch(r"\{.*\}", line)
        json.loads(line)


def test_unexpected_errors_reveal_no_message(own: tuple[Process, httpx.Client], users: UsersStub) -> None:
    gateway, client = own
    users.refusal = 777, "c4naryzq"
    answer = client.post("/api/login", json=CREDENTIALS, headers={"X-Trace-ID": "t-5"})
    assert (answer.status_code, answer.text) == (500, '{"code":500,"msg":"服务器内部错误"}')
    assert answer.headers["x-trace-id"] == "t-5"
    failure = gateway.wait_for("a request failed")
    assert (failure["level"], failure["error"], failure["trace_id"]) == ("ERROR", "ValueError", "t-5")
    assert "in login" in failure["frames"]
    assert "c4naryzq" not in gateway.output
    assert CREDENTIALS["password"] not in gateway.output


def test_disabled_access_log_still_shows_server_errors(start_gateway: StartGateway, users: UsersStub) -> None:
    gateway = start_gateway(USER_SERVICE_TARGET=users.target, ACCESS_LOG_SAMPLE="0", LOG_LEVEL="WARNING")
    with httpx.Client(base_url=f"http://127.0.0.1:{gateway.port}") as client:
        for number in range(20):
            client.get("/ping" if number % 2 else "/nowhere")
        users.refusal = 777, "x"
        assert client.post("/api/login", json=CREDENTIALS).status_code == 500
        users.before = lambda _, context: context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "x")
        assert client.post("/api/login", json=CREDENTIALS).status_code == 503
    gateway.terminate()
    assert gateway.wait() == 0
    lines = [(record["level"], record["code"]) for record in gateway.records if record["message"] == "request"]
    assert lines == [("ERROR", 500), ("WARNING", 503)]


def pipelined(gateway: Process, count: int, path: str, body: object = None, headers: str = "") -> None:
    """Send `count` requests at once over one connection, and read all answers."""
    content = b"" if body is None else json.dumps(body).encode()
    method = "GET" if body is None else "POST"
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    )
    request = f"{head}{headers}\r\n".encode() + content
    last = f"{head}{headers}Connection: close\r\n\r\n".encode() + content
    assert raw(gateway, request * (count - 1) + last, timeout=60).count(b"HTTP/1.1 ") == count


def refuse(_: object, context: grpc.ServicerContext) -> None:
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "x")


@pytest.mark.parametrize("share", ["0", "1"])
@pytest.mark.parametrize(
    ("status", "path", "body"),
    [
        (401, "/api/profile", None),
        (401, "/api/login", {**CREDENTIALS, "password": "another"}),
        (403, "/api/sessions", CREDENTIALS),
        (409, "/api/register", CREDENTIALS),
        (500, "/api/login", CREDENTIALS),
        (503, "/api/login", CREDENTIALS),
    ],
)
def test_refusals_are_logged_with_the_peer(
    start_gateway: StartGateway, users: UsersStub, share: str, status: int, path: str, body: object
) -> None:
    gateway = start_gateway(USER_SERVICE_TARGET=users.target, ACCESS_LOG_SAMPLE=share)
    if status == 403:
        name = f"u_{secrets.token_hex(6)}"
        body = {**CREDENTIALS, "username": name}
        httpx.post(f"http://{gateway.target}/api/register", json=body)
        users.disabled.add(name)
    if status == 409:
        users.refusal = 409, "x"
    if status == 500:
        users.refusal = 777, "x"
    if status == 503:
        users.before = refuse
    count = 300
    pipelined(gateway, count, path, body)
    gateway.terminate()
    assert gateway.wait() == 0
    lines = [each for each in gateway.records if each["message"] == "request" and each["code"] == status]
    assert {(line["code"], line["route"], line["peer"]) for line in lines} == {(status, path, "127.0.0.1")}
    took = datetime.fromisoformat(lines[-1]["time"]) - datetime.fromisoformat(lines[0]["time"])
    assert len(lines) <= 50 * (took.seconds + 1)
    summaries = [record for record in gateway.records if record["message"] == "request lines suppressed"]
    assert summaries
    assert {(summary["status"], summary["level"]) for summary in summaries} == {(status, "WARNING")}
    assert len(lines) + sum(summary["count"] for summary in summaries) == count


def test_other_lines_have_no_peer(own: tuple[Process, httpx.Client]) -> None:
    gateway, client = own
    for path in ("/ping", "/nowhere"):
        client.get(path)
    lines = wait_until(lambda: [r for r in gateway.records if r["message"] == "request" and r["code"] == 404])
    assert "peer" not in lines[0]


def test_no_client_chooses_whether_it_is_logged(start_gateway: StartGateway, users: UsersStub) -> None:
    gateway = start_gateway(USER_SERVICE_TARGET=users.target, ACCESS_LOG_SAMPLE="0.5")
    chosen = "X-Trace-ID: order.4711\r\nX-Log-Random: ffffffff\r\n"
    pipelined(gateway, 200, "/ping", headers=chosen)
    gateway.terminate()
    assert gateway.wait() == 0
    assert 50 < len([record for record in gateway.records if record["trace_id"] == "order.4711"]) < 150


def test_every_answer_before_the_end_has_its_line(start_gateway: StartGateway, users: UsersStub) -> None:
    gateway = start_gateway(USER_SERVICE_TARGET=users.target)
    url = f"http://127.0.0.1:{gateway.port}/ping"
    answered: list[str] = []

    def ask(thread: int) -> None:
        with httpx.Client() as client:
            for number in itertools.count():
                try:
                    answered.append(client.get(url, headers={"X-Trace-ID": f"{thread}.{number}"}).headers["x-trace-id"])
                except httpx.HTTPError:
                    return

    with ThreadPoolExecutor(8) as threads:
        asking = [threads.submit(ask, number) for number in range(8)]
        wait_until(lambda: len(answered) > 400, 60, what="answers")
        gateway.terminate()
        wait_until(lambda: all(each.done() for each in asking), 60, what="the clients to be refused")
    assert gateway.wait() == 0
    assert len(gateway.records) == len(gateway.output.splitlines())
    assert set(answered) <= {record["trace_id"] for record in gateway.records}


def test_ipv4_peer_is_logged_as_ipv4(start_gateway: StartGateway, users: UsersStub) -> None:
    gateway = start_gateway(USER_SERVICE_TARGET=users.target, LISTEN_HOST="::")
    assert httpx.get(f"http://127.0.0.1:{gateway.port}/api/profile").status_code == 401
    assert gateway.wait_for("request")["peer"] == "127.0.0.1"
