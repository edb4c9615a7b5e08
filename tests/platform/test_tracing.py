"""Spans at a real OTLP receiver, from HTTP to SQL, under the trace id of the logs and the answer."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.platform.conftest import account
from tests.support.etcd import Etcd
from tests.support.mariadb import PASSWORD as DATABASE_PASSWORD
from tests.support.mariadb import Server
from tests.support.otlp import Receiver, Span
from tests.support.platform import Platform
from tests.support.process import Process
from tests.support.wait import wait_until

CALLER = "00f067aa0ba902b7"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
NAME, PASSWORD = "c4nary_name", "c4n4ry-pässwörd"
KEY = "s3cret-of-the-receiver"

LOGIN_SPANS = 8
"""Request, call on both sides, the user, the failures before and in its turn, waiting for a core, hashing."""


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def traced(
    etcd: Etcd, mariadb: Server, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """A platform on MariaDB that sends all its spans."""
    database = mariadb.database()
    env = {
        **receiver.env,
        "DB_DSN": database.go_dsn,
        "LOG_LEVEL": "DEBUG",
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-api-key={KEY}",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
    }
    with Platform(etcd, tmp_path_factory.mktemp("traced"), env=env) as platform:
        with platform.client() as client:
            assert client.post("/api/register", json=account()).status_code == 200
        yield platform


@pytest.fixture
def client(traced: Platform) -> Iterator[httpx.Client]:
    with traced.client() as client:
        yield client


def line(process: Process, **fields: object) -> dict[str, Any]:
    """Wait for the log record with these fields."""
    found = wait_until(
        lambda: [record for record in process.records if fields.items() <= record.items()], 5, what=str(fields)
    )
    return found[0]


def only(spans: list[Span], service: str, name: str) -> Span:
    (span,) = [span for span in spans if (span.service, span.name) == (service, name)]
    return span


def test_one_trace_spans_http_to_sql(traced: Platform, client: httpx.Client, receiver: Receiver) -> None:
    answer = client.post("/api/login", json=account())
    trace_id = answer.headers["x-trace-id"]
    spans = receiver.trace(trace_id, LOGIN_SPANS)
    http = only(spans, "gateway_svc", "POST /api/login")
    rpc = only(spans, "gateway_svc", "user.v1.UserService/Login")
    call = only(spans, "user_svc", "user.v1.UserService/Login")
    sql = only(spans, "user_svc", "SELECT users")
    waiting = only(spans, "user_svc", "password.wait")
    hashing = only(spans, "user_svc", "password.hash")
    throttling = [span for span in spans if span.name == "SELECT login_failures"]
    assert len(spans) == LOGIN_SPANS
    assert [span.parent for span in (http, rpc, call)] == ["", http.id, rpc.id]
    assert {span.parent for span in (sql, waiting, hashing, *throttling)} == {call.id}
    assert [span.kind for span in (http, rpc, call, sql, hashing)] == [
        "SERVER",
        "CLIENT",
        "SERVER",
        "CLIENT",
        "INTERNAL",
    ]
    assert not [span for span in spans if span.failed]
    assert waiting.message.end_time_unix_nano <= hashing.message.start_time_unix_nano + 1_000_000

    access = line(traced.gateways[0], message="request", trace_id=trace_id)
    served = line(traced.users[0], message="call", trace_id=trace_id)
    assert (access["span_id"], served["span_id"]) == (http.id, call.id)
    assert access["instance"] == http.attributes["resource.service.instance.id"]
    assert served["instance"] == call.attributes["resource.service.instance.id"]


def test_attributes_are_the_conventions(client: httpx.Client, receiver: Receiver) -> None:
    trace_id = client.post("/api/login", json=account()).headers["x-trace-id"]
    found = {
        (span.service, span.kind): {
            name: value for name, value in span.attributes.items() if not name.startswith("resource.")
        }
        for span in receiver.trace(trace_id, LOGIN_SPANS)
        if span.kind != "INTERNAL" and span.name != "SELECT login_failures"
    }
    method = {"rpc.system.name": "grpc", "rpc.method": "user.v1.UserService/Login", "rpc.response.status_code": "OK"}
    assert found == {
        ("gateway_svc", "SERVER"): {
            "http.request.method": "POST",
            "http.route": "/api/login",
            "http.response.status_code": 200,
            "url.path": "/api/login",
            "url.scheme": "http",
        },
        ("gateway_svc", "CLIENT"): method,
        ("user_svc", "SERVER"): method,
        ("user_svc", "CLIENT"): {
            "db.system.name": "mariadb",
            "db.query.summary": "SELECT users",
            "db.operation.name": "SELECT",
            "db.collection.name": "users",
        },
    }
    resource = receiver.spans[-1].attributes
    assert resource["resource.deployment.environment.name"] == "test"
    assert resource["resource.service.version"]


def test_a_traceparent_comes_in_and_goes_on(traced: Platform, client: httpx.Client, receiver: Receiver) -> None:
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "vendor=opaque"}
    assert client.post("/api/login", json=account(), headers=headers).headers["x-trace-id"] == TRACE
    spans = receiver.trace(TRACE, LOGIN_SPANS)
    assert only(spans, "gateway_svc", "POST /api/login").parent == CALLER
    assert {span.message.trace_state for span in spans} == {"vendor=opaque"}
    assert line(traced.users[0], message="call", trace_id=TRACE)


def test_invalid_trace_ids_stay_on_logs_and_spans(traced: Platform, client: httpx.Client, receiver: Receiver) -> None:
    own = "order.4711"
    assert client.post("/api/login", json=account(), headers={"X-Trace-ID": own}).headers["x-trace-id"] == own

    def served() -> list[Span]:
        return [s for s in receiver.spans if s.attributes.get("http.response.header.x-trace-id") == [own]]

    (http,) = wait_until(served, 5, what="the span")
    call = only(receiver.trace(http.trace_id, LOGIN_SPANS), "user_svc", "user.v1.UserService/Login")
    assert call.attributes["rpc.request.metadata.x-trace-id"] == [own]
    assert line(traced.gateways[0], message="request", trace_id=own)["span_id"] == http.id
    assert line(traced.users[0], message="call", trace_id=own)["span_id"] == call.id


def test_valid_client_ids_become_trace_ids(client: httpx.Client, receiver: Receiver) -> None:
    own = "0123456789abcdef0123456789abcdef"
    assert client.get("/ping", headers={"X-Trace-ID": own}).headers["x-trace-id"] == own
    (span,) = receiver.trace(own, 1)
    assert (span.name, span.parent) == ("GET /ping", "")


def test_polls_of_the_feed_make_no_spans(traced: Platform, client: httpx.Client, receiver: Receiver) -> None:
    polled = line(traced.users[0], message="call", method="ListRevocations")
    receiver.trace(client.post("/api/login", json=account()).headers["x-trace-id"], LOGIN_SPANS)  # later than the poll
    assert "span_id" not in polled
    assert not {"user.v1.UserService/ListRevocations", "SELECT revocations"} & {span.name for span in receiver.spans}


@pytest.mark.parametrize(
    ("method", "path", "name", "status", "method_said"),
    [
        ("GET", f"/{NAME}?x={NAME}", "GET", 404, "GET"),
        ("DELETE", "/ping", "DELETE /ping", 405, "DELETE"),
        ("PURGE", "/ping", "HTTP /ping", 405, "_OTHER"),
        ("GET", "/docs/start.js", "GET /docs", 200, "GET"),
        ("GET", "/api/profile", "GET /api/profile", 401, "GET"),
    ],
)
def test_names_and_attributes_are_few_whatever_is_asked(
    client: httpx.Client, receiver: Receiver, method: str, path: str, name: str, status: int, method_said: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    (span,) = receiver.trace(answer.headers["x-trace-id"], 1)
    assert (span.name, span.attributes["http.request.method"], span.failed) == (name, method_said, False)
    assert span.attributes["http.response.status_code"] == status


def test_spans_and_logs_contain_no_secrets(traced: Platform, client: httpx.Client, receiver: Receiver) -> None:
    bodies = [account(NAME, PASSWORD), account(NAME, PASSWORD), account(NAME, PASSWORD + "x"), account("no" + NAME)]
    answers = [client.post(f"/api/{path}", json=body) for path in ("register", "login") for body in bodies]
    token = next(answer.json()["token"] for answer in answers if answer.json().get("token"))
    answers += [
        client.get("/api/profile", headers={"Authorization": f"Bearer {token}"}),
        client.get(f"/api/{PASSWORD}", params={"password": PASSWORD}, headers={"User-Agent": NAME, "Referer": NAME}),
        client.post("/api/login", content=json.dumps(account(NAME, PASSWORD))[:-1]),
    ]
    assert {answer.status_code for answer in answers} == {200, 401, 404, 409, 415}
    for answer in answers:
        receiver.trace(answer.headers["x-trace-id"], 1)
    for process in (*traced.users, *traced.gateways):
        process.terminate()
        assert process.wait() == 0
    sent = b"".join(receiver.raw)
    secrets = [NAME, PASSWORD, token, traced.jwt_secret, DATABASE_PASSWORD, KEY, *PASSWORD.split("-")]
    for secret in secrets:
        for form in (secret, json.dumps(secret)[1:-1], base64.b64encode(secret.encode()).decode()):
            assert form.encode() not in sent, f"{form} was sent"
    assert b"$2b$" not in sent
    assert {headers["x-api-key"] for headers in receiver.headers} == {KEY}
    assert {headers["content-encoding"] for headers in receiver.headers} == {"gzip"}
    assert KEY not in traced.output
    for process in (*traced.users, *traced.gateways):
        assert len(process.records) == len(process.output.splitlines())
        assert not [record for record in process.records if record["logger"].startswith(("opentelemetry", "urllib3"))]


def test_sampled_requests_are_logged_by_both_services(etcd: Etcd, make_platform: Callable[..., Platform]) -> None:
    platform = make_platform(etcd, env={"ACCESS_LOG_SAMPLE": "0.5", "LOG_LEVEL": "INFO"})
    with platform.client() as client:
        answers = [
            client.post("/api/register", json=account(f"user_{number}"), headers={"X-Trace-ID": f"request-{number}"})
            for number in range(24)
        ]
    asked = {answer.headers["x-trace-id"] for answer in answers if answer.status_code == 200}
    logged = []
    for process in (*platform.users, *platform.gateways):
        process.terminate()
        assert process.wait() == 0
        lines = [record for record in process.records if record["message"] in {"call", "request"}]
        logged.append(asked & {record["trace_id"] for record in lines})
    assert logged[0] == logged[1]
    assert set() < logged[0] < asked
