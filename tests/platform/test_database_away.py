"""The database stops and comes back: answers say so, health says so, and nothing is restarted."""

from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.platform.conftest import account
from tests.support import mariadb
from tests.support.etcd import Etcd
from tests.support.platform import Platform, admin, is_ready
from tests.support.wait import wait_until

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNAVAILABLE = '{"code":503,"msg":"服务暂时不可用，请稍后重试"}'.encode()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[mariadb.Server]:
    if mariadb.server_binary() is None:
        pytest.skip("neither mariadbd nor mysqld is installed")
    server = mariadb.Server.create(tmp_path)
    yield server
    server.kill()


def test_a_database_that_is_killed_and_comes_back(
    etcd: Etcd, make_platform: Callable[..., Platform], server: mariadb.Server
) -> None:
    platform = make_platform(etcd, env={"DB_DSN": server.database().go_dsn})
    (user,) = platform.users
    with platform.client() as client, grpc.insecure_channel(user.target) as channel:
        health = health_pb2_grpc.HealthStub(channel)

        def status(name: str) -> int:
            request = health_pb2.HealthCheckRequest(service=name)
            return int(health.Check(request, timeout=5).status)  # type: ignore[attr-defined]

        assert client.post("/api/register", json=account()).status_code == 200
        assert status("user.v1.UserService") == status("readiness") == SERVING
        server.kill()
        for path in ["/api/login", "/api/register"]:
            answer = client.post(path, json=account())
            assert (answer.status_code, answer.content) == (503, UNAVAILABLE)
        wait_until(lambda: status("user.v1.UserService") == status("readiness") == NOT_SERVING, 5)
        assert status("liveness") == status("") == SERVING
        assert admin(user, "/livez").status_code == 200
        assert not is_ready(user)
        assert is_ready(platform.gateways[0])
        answer = client.post("/api/login", json=account())
        assert (answer.status_code, answer.content) == (503, UNAVAILABLE)
        server.start()
        wait_until(lambda: client.post("/api/login", json=account()).status_code == 200, 5, what="logins to work again")
        wait_until(lambda: status("readiness") == SERVING, 5)
    assert user.running
