"""Gateways come and go behind proxies that keep their connections to them."""

import csv
from functools import partial
from pathlib import Path

import httpx

from tests.support.etcd import free_port
from tests.support.platform import is_ready
from tests.support.process import Process
from tests.support.proxies import haproxy, nginx
from tests.support.traffic import Send, Traffic
from tests.support.users_stub import UsersStub
from tests.support.wait import wait_until

SECRET = "a secret of the tests, at least 32 bytes long"
LOCATION = """location / {
  proxy_pass http://gateway; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
}"""
CHECKS = (
    "option redispatch",
    "option httpchk GET /readyz",
    "default-server check inter 200ms fall 1 rise 1",
    "stats enable",
    "stats uri /of-haproxy",
)
ACCOUNT = {"username": "testuser123", "password": "password123"}


def requests(url: str) -> Send:
    async def send(client: httpx.AsyncClient, number: int) -> httpx.Response:
        if number % 2:
            return await client.post(f"{url}/api/login", json=ACCOUNT)
        return await client.get(f"{url}/ping")

    return send


def uses_both(url: str) -> bool:
    """Whether HAProxy has found both gateways ready: it learns that from its own checks, after they are."""
    states = csv.DictReader(httpx.get(f"{url}/of-haproxy;csv").text.splitlines())
    return [row["status"] for row in states if row["svname"].startswith("gateway")] == ["UP", "UP"]


def test_restarts_behind_nginx_and_haproxy_lose_nothing(tmp_path: Path) -> None:
    ports = [(free_port(), free_port()) for _ in range(2)]
    behind_nginx = [f"127.0.0.1:{port} fail_timeout=1s" for port, _ in ports]
    behind_haproxy = [f"127.0.0.1:{port} port {admin_port}" for port, admin_port in ports]
    started: list[Process] = []
    with (
        UsersStub() as users,
        nginx(tmp_path, behind_nginx, LOCATION) as first,
        haproxy(tmp_path, behind_haproxy, CHECKS) as second,
    ):
        urls = [f"http://127.0.0.1:{port}" for port in (first, second)]

        def start(port: int, admin_port: int) -> Process:
            env = {
                "JWT_SECRET": SECRET,
                "USER_SERVICE_TARGET": users.target,
                "LISTEN_PORT": str(port),
                "ADMIN_PORT": str(admin_port),
                "DRAIN_DELAY": "1",
                "GRACE": "6",
                "ACCESS_LOG_SAMPLE": "0",
            }
            started.append(Process("gateway_svc", env=env, cwd=tmp_path))
            return started[-1]

        try:
            gateways = [start(*each) for each in ports]
            for gateway in gateways:
                wait_until(partial(is_ready, gateway), 20, what="the gateway to be ready")
            wait_until(partial(uses_both, urls[1]), 5, what="HAProxy to know that")
            assert httpx.post(f"{urls[0]}/api/register", json=ACCOUNT).status_code == 200
            with Traffic(requests(urls[0]), rate=20) as some, Traffic(requests(urls[1]), rate=20) as others:
                for each, old in zip(ports, gateways, strict=True):
                    old.terminate()
                    assert old.wait() == 0
                    new = start(*each)
                    wait_until(partial(is_ready, new), 20, what="the gateway to be ready")
                    wait_until(partial(uses_both, urls[1]), 5, what="HAProxy to know that")
                    some.wait_for(20)
                    others.wait_for(20)
            assert not some.others(200), some.summary
            assert not others.others(200), others.summary
        finally:
            for process in started:
                process.close()
