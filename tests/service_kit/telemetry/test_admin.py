"""The admin port over a real socket."""

import logging
import socket
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client import Counter
from prometheus_client.parser import text_string_to_metric_families

from service_kit import ports
from service_kit.telemetry import metrics
from service_kit.telemetry.admin import AdminServer


class Probed:
    """Answers of the two probes, to be changed by a test."""

    live: str | None = None
    ready: str | None = "no endpoint yet"


@pytest.fixture
def probed() -> Probed:
    return Probed()


@pytest.fixture
def client(probed: Probed) -> Iterator[httpx.Client]:
    def readyz() -> str | None:
        if probed.ready == "broken":
            raise RuntimeError
        return probed.ready

    server = AdminServer(ports.listen("ADMIN_PORT", "127.0.0.1", 0), livez=lambda: probed.live, readyz=readyz)
    server.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as client:
        yield client
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)


def test_probes_answer_for_themselves(client: httpx.Client, probed: Probed) -> None:
    live, ready = client.get("/livez"), client.get("/readyz")
    assert (live.status_code, live.text) == (200, "ok\n")
    assert (ready.status_code, ready.text) == (503, "no endpoint yet\n")
    probed.live, probed.ready = "stuck", None
    assert client.get("/livez").status_code == 503
    assert client.get("/readyz").status_code == 200


def test_a_probe_that_fails_is_a_failing_probe(
    client: httpx.Client, probed: Probed, caplog: pytest.LogCaptureFixture
) -> None:
    probed.ready = "broken"
    assert client.get("/readyz").status_code == 503
    assert "a probe failed" in caplog.text


def test_head_has_no_body_and_other_methods_are_refused(client: httpx.Client) -> None:
    head = client.head("/livez")
    assert (head.status_code, head.content) == (200, b"")
    posted = client.post("/livez")
    assert (posted.status_code, posted.headers["allow"]) == (405, "GET, HEAD")
    assert client.get("/secret").status_code == 404


def test_metrics_parse_and_have_no_created_series(client: httpx.Client) -> None:
    metrics.start()
    Counter("test_admin_requests_total", "A counter, which would have a series of its creation.").inc()
    exported = {
        sample.name: sample
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
    }
    assert exported["build_info"].labels == {"version": metrics.VERSION}
    assert exported["test_admin_requests_total"].value == 1
    assert "process_resident_memory_bytes" in exported
    assert not [name for name in exported if name.endswith("_created")]


def test_a_client_that_hangs_up_leaves_no_traceback(
    client: httpx.Client, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    port = client.base_url.port
    assert port
    with socket.create_connection(("127.0.0.1", port)) as connection:
        # an RST instead of an orderly end
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        connection.sendall(b"GET /met")
    assert client.get("/livez").status_code == 200
    assert capfd.readouterr().err == ""
    assert caplog.records == [] or {record.name for record in caplog.records} == {"httpx"}
