"""One trace id from the client's header to the log lines of both services."""

import re
from typing import Any

import httpx
import pytest

from tests.platform.conftest import account
from tests.support.platform import Platform
from tests.support.process import Process
from tests.support.wait import wait_until

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def lines(process: Process, trace_id: str) -> list[dict[str, Any]]:
    """Return the log records of a request, once there are any."""
    return wait_until(
        lambda: [record for record in process.records if record.get("trace_id") == trace_id],
        5,
        what=f"{process.module} to log {trace_id}",
    )


@pytest.mark.parametrize("path", ["register", "login"])
def test_clients_trace_id_is_on_both_services_lines(platform: Platform, client: httpx.Client, path: str) -> None:
    trace_id = f"from-the-client.{path}_1"
    answer = client.post(f"/api/{path}", json=account(), headers={"X-Trace-ID": trace_id})
    assert answer.headers["x-trace-id"] == trace_id
    (access,) = lines(platform.gateways[0], trace_id)
    assert (access["route"], access["code"]) == (f"/api/{path}", answer.status_code)
    assert access["duration"] > 0
    call = lines(platform.users[0], trace_id)[-1]
    assert (call["method"], call["code"]) == (path.capitalize(), "OK")
    assert call["duration"] > 0


def test_generated_trace_id_is_on_both_services_lines(platform: Platform, client: httpx.Client) -> None:
    answer = client.post("/api/login", json=account(), headers={"X-Trace-ID": "not acceptable"})
    trace_id = answer.headers["x-trace-id"]
    assert re.fullmatch("[0-9a-f]{32}", trace_id)
    assert lines(platform.gateways[0], trace_id)
    assert lines(platform.users[0], trace_id)


def test_a_traceparent_is_taken_as_well(platform: Platform, client: httpx.Client) -> None:
    answer = client.post("/api/login", json=account(), headers={"traceparent": TRACEPARENT})
    assert answer.headers["x-trace-id"] == TRACEPARENT.split("-")[1]
    assert lines(platform.users[0], TRACEPARENT.split("-")[1])


@pytest.mark.parametrize("more", ["é", "a\tb", "z" * 30_000], ids=["not ASCII", "a tab", "very long"])
def test_later_traceparent_versions_are_accepted(client: httpx.Client, more: str) -> None:
    traceparent = f"01{TRACEPARENT[2:]}-{more}".encode("latin-1")
    answer = client.post("/api/login", json=account("nobody"), headers={b"traceparent": traceparent})
    assert answer.status_code == 401
    assert answer.headers["x-trace-id"] == TRACEPARENT.split("-")[1]


def test_errors_carry_the_trace_id_too(platform: Platform, client: httpx.Client) -> None:
    for number, (method, path) in enumerate([("GET", "/nowhere"), ("DELETE", "/ping"), ("POST", "/api/login")]):
        trace_id = f"error-{number}"
        answer = client.request(method, path, headers={"X-Trace-ID": trace_id})
        assert answer.is_client_error
        assert answer.headers["x-trace-id"] == trace_id
        assert lines(platform.gateways[0], trace_id)


def test_every_line_is_one_json_object(platform: Platform, client: httpx.Client) -> None:
    client.post("/api/login", json=account())
    client.get("/nowhere\n{}".replace("\n", "%0A"))
    lines(platform.gateways[0], client.get("/ping").headers["x-trace-id"])
    for process in [*platform.users, *platform.gateways]:
        records, written = process.records, process.output.splitlines()
        assert len(written) - len(records) <= 1, process.output  # the last one may have come in between
        for record in records:
            assert {"time", "level", "logger", "message", "trace_id", "service", "instance"} <= record.keys()
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["time"])
            assert record["service"] == process.module
