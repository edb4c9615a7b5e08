"""/livez and /readyz of the user service."""

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.etcd import Etcd
from tests.support.mortal import end_thread
from tests.support.process import Process
from tests.support.wait import wait_until
from tests.user_svc.client import Client, ready_client


def probe(process: Process, path: str, timeout: float = 10) -> tuple[int, str]:
    answer = httpx.get(f"http://127.0.0.1:{process.admin_port}{path}", timeout=timeout, trust_env=False)
    return answer.status_code, answer.text.strip()


@pytest.fixture
def client(etcd: Etcd, tmp_path: Path) -> Iterator[Client]:
    env = {"ETCD_ADDRESS": etcd.endpoint, "REGISTRY_PREFIX": f"test/{tmp_path.name}"}
    with Process("tests.support.mortal", "user_svc", env=env, cwd=tmp_path) as process, ready_client(process) as client:
        client.wait_until_serving()
        yield client


@pytest.mark.parametrize("thread", ["database monitor", "health", "registrar"])
def test_a_dead_thread_fails_liveness_and_is_named(client: Client, thread: str) -> None:
    assert probe(client.process, "/livez") == (200, "ok")
    assert client.metric("thread_alive", thread=thread) == 1
    end_thread(client.process, thread)
    wait_until(lambda: probe(client.process, "/livez") == (503, f"the thread {thread!r} has died"), 20)
    assert client.process.wait_for(f"the thread {thread!r} has died")["level"] == "CRITICAL"
    assert client.metric("thread_alive", thread=thread) == 0
    assert client.register("alice").code == 200
    client.process.terminate()
    assert client.process.wait() == 0


def test_unresponsive_grpc_port_fails_liveness(client: Client) -> None:
    assert probe(client.process, "/livez") == (200, "ok")
    end_thread(client.process, "_serve")
    wait_until(lambda: probe(client.process, "/livez")[0] == 503, 20)
    assert probe(client.process, "/livez")[1] == "the service's own port does not answer: DEADLINE_EXCEEDED"


def test_readyz_says_what_readiness_says(client: Client, etcd: Etcd) -> None:
    assert client.serves("readiness")
    assert probe(client.process, "/readyz") == (200, "ok")
    end_thread(client.process, "registrar")
    wait_until(lambda: probe(client.process, "/readyz") == (503, "not registered"), 20)
    client.wait_until_not_serving()


def test_a_process_that_drains_is_alive(tmp_path: Path) -> None:
    with Process("user_svc", env={"DRAIN_DELAY": "600"}, cwd=tmp_path) as process, ready_client(process):
        process.terminate()
        wait_until(lambda: probe(process, "/readyz") == (503, "draining"), 10)
        assert probe(process, "/livez") == (200, "ok")


def test_probes_answer_when_file_descriptors_are_used_up(client: Client) -> None:
    process = client.process
    assert probe(process, "/livez") == (200, "ok")
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (64, 64))
    with ExitStack() as idle:
        for _ in range(100):
            idle.enter_context(socket.create_connection(("127.0.0.1", process.port)))
        wait_until(lambda: psutil.Process(process.pid).num_fds() >= 63, 5, what="the service to be out of files")
        for _ in range(20):
            assert probe(process, "/livez") == (200, "ok")
            assert probe(process, "/metrics")[0] == 200
            assert probe(process, "/readyz")  # SQLite may need a file for its journal
