"""Addresses that try too much, behind a proxy that is trusted."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway_svc.throttling import Throttle, throttle
from service_kit.settings import ThrottleMode
from tests.gateway_svc.conftest import StartGateway, admin, setting_problems
from tests.support.process import Process
from tests.support.users_stub import UsersStub
from tests.support.wait import wait_until

BURST = throttle.BURST
REFUSED = {"code": 429, "msg": "尝试次数过多，请稍后重试"}
PASSWORD = "password123"


class Proxied:
    """Requests of many addresses to one gateway."""

    def __init__(self, gateway: Process) -> None:
        self.gateway = gateway
        self.http = httpx.Client(base_url=f"http://{gateway.target}", timeout=20)

    def post(self, path: str, address: str, **body: str) -> httpx.Response:
        return self.http.post(path, json=body, headers={"X-Forwarded-For": address})

    def login(
        self, address: str, name: str = "nobody", password: str = "wrongpassword", path: str = "/api/login"
    ) -> int:
        return self.post(path, address, username=name, password=password).status_code

    def register(self, name: str) -> None:
        """Register from an address of its own."""
        address = f"2001:db8:{secrets.token_hex(2)}:{secrets.token_hex(2)}::1"
        assert self.post("/api/register", address, username=name, password=PASSWORD).status_code == 200

    def throttled(self, route: str) -> float:
        prefix = f'client_throttled_total{{route="{route}"}} '
        (line,) = (line for line in admin(self.gateway, "/metrics").text.splitlines() if line.startswith(prefix))
        return float(line.removeprefix(prefix))


StartProxied = Callable[..., Proxied]


@pytest.fixture
def start_proxied(start_gateway: StartGateway, users: UsersStub) -> Iterator[StartProxied]:
    started: list[Proxied] = []

    def start(**env: str) -> Proxied:
        started.append(Proxied(start_gateway(USER_SERVICE_TARGET=users.target, **env)))
        return started[-1]

    yield start
    for each in started:
        each.http.close()


@pytest.fixture
def proxied(start_proxied: StartProxied) -> Proxied:
    return start_proxied(TRUSTED_PROXIES="127.0.0.0/8, ::1")


def test_wrong_passwords_are_bounded_for_each_address(proxied: Proxied, users: UsersStub) -> None:
    name = f"u_{secrets.token_hex(6)}"
    proxied.register(name)
    paths = ["/api/login", "/api/sessions"]
    statuses = [proxied.login("203.0.113.1", path=paths[place % 2]) for place in range(BURST + 10)]
    assert statuses.count(401) + statuses.count(429) == BURST + 10
    assert statuses[:BURST] == [401] * BURST

    def guesser_is_refused() -> bool:
        proxied.login("203.0.113.1")  # takes the try that may have come back meanwhile
        calls = len(users.calls)
        answer = proxied.post("/api/login", "203.0.113.1", username=name, password=PASSWORD)
        if answer.status_code != 429:
            return False
        assert answer.json() == REFUSED
        assert answer.headers["retry-after"] == "1"
        return len(users.calls) == calls

    wait_until(guesser_is_refused, 5, what="the guesser to be refused without a call")
    assert proxied.login("203.0.113.2", name, PASSWORD) == 200
    assert proxied.login("198.51.100.1, 203.0.113.2") == 401
    wait_until(lambda: proxied.login("203.0.113.1", name, PASSWORD) == 200, 5, what="the next try to be taken")
    assert proxied.throttled("/api/login") >= 1
    assert proxied.throttled("/api/register") == 0


def test_one_customers_ipv6_network_is_one_client(proxied: Proxied) -> None:
    for _ in range(BURST):
        proxied.login(f"2001:db8:1:2:{secrets.token_hex(2)}::1")
    wait_until(lambda: proxied.login(f"2001:db8:1:2:{secrets.token_hex(2)}::1") == 429, 5, what="the /64 to be refused")
    assert proxied.login("2001:db8:1:3::1") == 401


def test_an_office_with_right_passwords_is_never_refused(proxied: Proxied) -> None:
    names = [f"u_{secrets.token_hex(6)}" for _ in range(200)]
    for name in names:
        proxied.register(name)
    sessions = []
    for name in names:
        assert proxied.login("203.0.113.3", name, PASSWORD) == 200
        answer = proxied.post("/api/sessions", "203.0.113.3", username=name, password=PASSWORD)
        assert answer.status_code == 200
        sessions.append(answer.json())
    for session in sessions:
        refreshed = proxied.post("/api/sessions/refresh", "203.0.113.3", refresh_token=session["refresh_token"])
        assert refreshed.status_code == 200
        token = refreshed.json()["refresh_token"]
        assert proxied.post("/api/sessions/end", "203.0.113.3", refresh_token=token).status_code == 200
    assert {proxied.throttled(route) for route in throttle.BUCKETS} == {0}


def test_registrations_are_bounded_for_each_address(proxied: Proxied, users: UsersStub) -> None:
    def register() -> int:
        body = {"username": f"u_{secrets.token_hex(6)}", "password": PASSWORD}
        return proxied.post("/api/register", "203.0.113.4", **body).status_code

    assert [register() for _ in range(BURST)] == [200] * BURST
    wait_until(lambda: register() == 429, 5, what="a registration to be refused")
    assert proxied.login("203.0.113.4") == 401


@pytest.mark.parametrize("path", ["/api/sessions/refresh", "/api/sessions/end"])
def test_bad_refresh_tokens_are_bounded_for_each_address(proxied: Proxied, path: str) -> None:
    def present() -> int:
        return proxied.post(path, "203.0.113.5", refresh_token="vpr_forged").status_code

    assert [present() for _ in range(BURST)] == [401] * BURST
    wait_until(lambda: present() == 429, 5, what="a forged token to be refused")
    assert proxied.login("203.0.113.5") == 401
    assert proxied.post(path, "203.0.113.6", refresh_token="vpr_forged").status_code == 401


def test_disabled_accounts_right_password_is_no_failure(proxied: Proxied, users: UsersStub) -> None:
    name = f"u_{secrets.token_hex(6)}"
    proxied.register(name)
    users.disabled.add(name)
    for _ in range(BURST + 5):
        answer = proxied.post("/api/sessions", "203.0.113.7", username=name, password=PASSWORD)
        assert answer.status_code == 403
    assert proxied.throttled("/api/sessions") == 0


def test_what_a_client_forwards_itself_is_not_believed(start_proxied: StartProxied) -> None:
    proxied = start_proxied(TRUSTED_PROXIES="none")
    for place in range(BURST):
        proxied.login(f"203.0.113.{place}")
    wait_until(lambda: proxied.login("198.51.100.1") == 429, 5, what="the forger to be refused")


@pytest.mark.parametrize("env", [{}, {"TRUSTED_PROXIES": "127.0.0.1", "THROTTLE_MODE": "off"}])
def test_it_can_be_off(start_proxied: StartProxied, env: dict[str, str]) -> None:
    proxied = start_proxied(**env)
    assert {proxied.login("203.0.113.8") for _ in range(3 * BURST)} == {401}
    assert proxied.throttled("/api/login") == 0


def test_it_can_be_watched_first(start_proxied: StartProxied) -> None:
    proxied = start_proxied(TRUSTED_PROXIES="127.0.0.1,::1", THROTTLE_MODE="observe")
    assert {proxied.login("203.0.113.9", "c4naryzq") for _ in range(3 * BURST)} == {401}
    wait_until(lambda: proxied.throttled("/api/login") > BURST / 2, 5, what="the refusals to be counted")
    proxied.gateway.wait_for("a client exceeds its rate limit")
    lines = [record for record in proxied.gateway.records if record["message"] == "a client exceeds its rate limit"]
    assert len(lines) == 1  # a line a minute for each address and route
    assert {key: lines[0][key] for key in ("level", "client", "route", "mode")} == {
        "level": "WARNING",
        "client": "203.0.113.9",
        "route": "/api/login",
        "mode": "observe",
    }
    assert "c4naryzq" not in proxied.gateway.output


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "MAX_COUNTED", 100)
    bounded = Throttle(ThrottleMode.OBSERVE)
    for place in range(1000):
        bounded.take("/api/register", f"198.51.100.{place}")
    store: Any = bounded._limiter._store
    assert len(store._backend._client) == len(store._backend.expire_info) == 100


@pytest.mark.parametrize(
    "value", ["all", "10.0.0.0/33", "10.0.0.1/8", "::ffff:10.0.0.0/104", "none,10.0.0.0/8", "c4naryzq"]
)
def test_malformed_proxies_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    (problem,) = setting_problems(tmp_path, monkeypatch, TRUSTED_PROXIES=value)
    assert problem.startswith("TRUSTED_PROXIES: must be `none`, or networks such as 10.0.0.0/8 ")
    assert "c4naryzq" not in problem
