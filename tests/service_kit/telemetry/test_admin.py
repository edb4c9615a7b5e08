"""The admin port over a real socket."""

import logging
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest
from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.parser import text_string_to_metric_families

from service_kit import ports
from service_kit.telemetry import admin, metrics
from service_kit.telemetry.admin import CONNECTIONS, MAX_HEAD, THREADS, AdminServer


class Probed:
    """Answers of the two probes, to be changed by a test."""

    live: str | None = None
    ready: str | threading.Event | None = "no endpoint yet"


@pytest.fixture
def probed() -> Probed:
    return Probed()


@pytest.fixture
def client(probed: Probed) -> Iterator[httpx.Client]:
    def readyz() -> str | None:
        if probed.ready == "broken":
            raise RuntimeError
        if isinstance(probed.ready, threading.Event):
            probed.ready.wait(10)
            return None
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


def test_head_has_no_body(client: httpx.Client) -> None:
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


def test_malformed_and_oversized_requests_are_refused(client: httpx.Client) -> None:
    for sent in (b"GET\r\n\r\n", b"GET /livez HTTP/3\r\n\r\n", b"GET /livez HTTP/1.1\r\na: " + b"a" * MAX_HEAD):
        with socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=5) as connection:
            connection.sendall(sent)
            assert connection.recv(1024).startswith(b"HTTP/1.0 400 Bad Request\r\n")


def connect(client: httpx.Client, sent: bytes = b"GET /livez HTTP/1.1\r\n") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=10)
    connection.sendall(sent)
    return connection


@contextmanager
def slow_connections(client: httpx.Client, count: int) -> Iterator[list[socket.socket]]:
    """Connections that send the rest of a head a byte at a time and come back when they are closed."""
    connections = [connect(client) for _ in range(count)]
    ended = threading.Event()

    def trickle() -> None:
        while not ended.wait(0.2):
            for index, connection in enumerate(connections):
                try:
                    connection.send(b"a")
                except OSError:
                    connection.close()
                    connections[index] = connect(client)

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        yield connections
    finally:
        ended.set()
        thread.join()
        for connection in connections:
            connection.close()


def test_probes_get_in_beside_500_slow_connections(client: httpx.Client) -> None:
    before = threading.active_count()
    with slow_connections(client, 500):
        for _ in range(20):
            assert client.get("/livez", timeout=1).status_code == 200
            assert client.get("/metrics", timeout=1).status_code == 200
        assert threading.active_count() <= before + 1 + THREADS


def test_client_that_does_not_read_is_disconnected(client: httpx.Client) -> None:
    large = Gauge("test_admin_large", "Makes an answer that fits no socket's buffers.", ["label"])
    large.labels("a" * 2**23)
    request = b"GET /metrics HTTP/1.1\r\n\r\n"
    unread = [connect(client, request) for _ in range(CONNECTIONS)]
    for connection in unread:
        assert connection.recv(1)
    assert client.get("/livez", timeout=1).status_code == 200
    for connection in unread:
        connection.close()
    REGISTRY.unregister(large)


def test_a_request_must_be_complete_in_time(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "REQUEST_TIMEOUT", 0.3)
    silent, partial = connect(client, b""), connect(client)
    while select.select([partial], [], [], 0.05)[0] == []:
        partial.send(b"a")
    for connection in (silent, partial):
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""
        connection.close()


def test_new_connections_replace_the_longest_waiting(client: httpx.Client) -> None:
    first, *others = [connect(client) for _ in range(CONNECTIONS)]
    assert client.get("/livez").status_code == 200
    assert first.recv(1) == b""
    assert select.select(others, [], [], 0) == ([], [], [])
    for connection in (first, *others):
        connection.close()


def test_probes_that_hang_end_with_their_connection(client: httpx.Client, probed: Probed) -> None:
    """They hold all threads; others get in when these are free."""
    free = threading.Event()
    probed.ready = free
    asking = [connect(client, b"GET /readyz HTTP/1.1\r\n\r\n") for _ in range(CONNECTIONS + 4)]
    free.set()
    assert [connection.recv(12) for connection in asking] == [b"HTTP/1.0 200"] * len(asking)
    for connection in asking:
        connection.close()


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
