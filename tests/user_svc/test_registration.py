"""Readiness and the lease."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2

from tests.support.etcd import Etcd
from tests.support.process import Process
from tests.support.wait import wait_until
from tests.user_svc.client import NOT_SERVING, SERVICE, SERVING, Client, ready_client

TTL = 2


@pytest.fixture
def prefix() -> str:
    return f"test/{secrets.token_hex(8)}"


def settings(etcd: Etcd, prefix: str, **more: str) -> dict[str, str]:
    return {"ETCD_ADDRESS": etcd.endpoint, "REGISTRY_PREFIX": prefix, "REGISTRY_TTL": str(TTL), **more}


@pytest.fixture
def registered(etcd: Etcd, prefix: str, tmp_path: Path) -> Iterator[Client]:
    with Process("user_svc", env=settings(etcd, prefix), cwd=tmp_path) as process, ready_client(process) as client:
        client.wait_until_serving("readiness")
        yield client


def test_what_is_registered(etcd: Etcd, prefix: str, tmp_path: Path) -> None:
    env = settings(etcd, prefix, ADVERTISE_ADDRESS="10.9.9.9", REGISTRY_SERVICE="users")
    with Process("user_svc", env=env, cwd=tmp_path) as process, ready_client(process) as client:
        client.wait_until_serving("readiness")
        ((key, held),) = etcd.keys(prefix).items()
        assert key == f"{prefix}/users/10.9.9.9:{process.port}"
        assert f'"address":"10.9.9.9:{process.port}"' in held.value.decode().replace(" ", "")
        assert held.lease
        wait_until(lambda: client.metric("registry_registrations_total", reason="start") == 1)
        assert client.metric("registry_lease_held") == 1
        assert all(line.get("instance") == "10.9.9.9" for line in process.records)


def test_readiness_follows_the_lease_and_nothing_else_does(etcd: Etcd, prefix: str, registered: Client) -> None:
    watches = {
        name: registered.health.Watch(health_pb2.HealthCheckRequest(service=name), timeout=60)
        for name in ("readiness", SERVICE, "liveness")
    }
    for watch in watches.values():
        assert next(watch).status == SERVING
    (held,) = etcd.keys(prefix).values()
    etcd.revoke(held.lease)
    assert next(watches["readiness"]).status == NOT_SERVING
    assert next(watches["readiness"]).status == SERVING
    (again,) = etcd.keys(prefix).values()
    assert again.lease not in {0, held.lease}
    reasons = ("lease_lost", "key_deleted")
    wait_until(lambda: sum(registered.metric("registry_registrations_total", reason=each) for each in reasons) == 1)
    registered.process.terminate()
    assert next(watches[SERVICE]).status == NOT_SERVING


def test_etcd_away(prefix: str, tmp_path: Path) -> None:
    with Etcd() as own:
        own.kill()
        env = settings(own, prefix)
        with Process("user_svc", env=env, cwd=tmp_path) as process, ready_client(process) as client:
            assert not client.serves("readiness")
            own.start()
            client.wait_until_serving("readiness")
            own.suspend()
            client.wait_until_not_serving("readiness")
            assert client.serves(SERVICE)
            assert client.serves("liveness")
            assert client.metric("registry_lease_held") == 0
            assert client.register("alice").code == 200
            own.resume()
            client.wait_until_serving("readiness")
            own.suspend()
            process.terminate()
            assert process.wait() == 0


def test_without_a_registry_readiness_needs_no_lease(shared: Client) -> None:
    assert shared.serves("readiness")
    assert "ETCD_ADDRESS" in shared.process.wait_for("not registered")["message"]


def test_stopping_service_deregisters_before_refusing_calls(etcd: Etcd, prefix: str, tmp_path: Path) -> None:
    env = settings(etcd, prefix, DRAIN_DELAY="4")
    with Process("user_svc", env=env, cwd=tmp_path) as process, ready_client(process) as client:
        client.wait_until_serving("readiness")
        watch = client.health.Watch(health_pb2.HealthCheckRequest(service="readiness"), timeout=60)
        assert next(watch).status == SERVING
        process.terminate()
        assert next(watch).status == NOT_SERVING
        wait_until(lambda: not etcd.keys(prefix), 1.0)
        with Client(process) as late:
            assert late.register("alice").code == 200
            assert not late.serves(SERVICE)
            assert late.serves("liveness")
        assert process.running
        assert process.wait() == 0
        assert [line["message"] for line in process.records[-1:]] == ["stopped"]
