"""A real Prometheus watches the platform through a run in which everything fails, one thing at a time."""

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from monitoring.limits import FEWEST_BAD, GUESSES, HASHING_SECONDS
from monitoring.rules.alert import PREFIX
from tests.monitoring.promql import ROOT, Query, measurements, rules
from tests.support import mariadb, prometheus
from tests.support.certificates import CERTIFICATE, HOUR, Authority, Mount
from tests.support.etcd import Etcd
from tests.support.mariadb import Database, Server
from tests.support.platform import Platform, admin, sample
from tests.support.prometheus import Alert, Prometheus, alert_of
from tests.support.traffic import Traffic
from tests.support.wait import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.exclusive, pytest.mark.timeout(400)]

MOST_SERIES = 350
INTERVAL = "1s"
MONTH = 30 * 24 * HOUR

ACCOUNT = {"username": "testuser123", "password": "password123"}
JSON = {"Content-Type": "application/json"}
METHODS = ("GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "POST", "BREW")
PATHS = ("/ping", "/api/register", "/api/login", "/api/profile", "/docs", "/openapi.json")

ETCD_ROOT = "root-password"
ETCD_USER = ("services", "services-password")


def both(name: str) -> set[Alert]:
    return {(name, "critical"), (name, "warning")}


UNAUTHENTICATED: set[Alert] = {("RegistryAuthenticationOff", "warning")}
"""What is raised from the beginning: etcd's authentication has not been enabled yet."""

MOMENTARY: dict[str, set[Alert]] = {
    "leases revoked by hand": {("RegistryNoLease", "critical")},
    "a table is locked": {("DatabasePoolExhausted", "warning")},
    "the gateway is killed": both("GatewayFindsNoUserService"),
}
"""Pending while a fault goes on, and no longer when it has been done."""


@dataclass
class Run:
    """What was seen of each fault, and all that Prometheus recorded."""

    watched_by: Prometheus
    began: float
    faults: dict[str, float] = field(default_factory=dict)
    """When each began, in Unix time."""
    expected: dict[str, set[Alert]] = field(default_factory=dict)
    """Pending or firing at the end of each fault, those of earlier faults that last included."""
    seen: dict[str, set[Alert]] = field(default_factory=dict)
    """Pending or firing at any time of it."""
    series: dict[str, int] = field(default_factory=dict)
    """Of each process, after everything that clients had sent."""
    ended: float = 0.0


class Certificates:
    """One certificate for both services, in a folder as the kubelet fills it."""

    def __init__(self, folder: Path) -> None:
        self._authority = Authority(lifetime=MONTH)
        self.mount = Mount(folder, self._issue(MONTH))

    def renew(self) -> None:
        self.mount.renew(self._issue(MONTH))

    def nearly_expire(self) -> None:
        self.mount.renew(self._issue(20 * HOUR))

    def spoil(self) -> None:
        self.mount.renew(self._issue(MONTH) | {CERTIFICATE: b"not a certificate"})

    def _issue(self, lifetime: timedelta) -> dict[str, bytes]:
        return self._authority.issue("user-svc", "gateway-svc", lifetime=lifetime)


class Setup:
    """The platform with a database and an etcd of its own, steady traffic, and Prometheus with the shipped rules."""

    def __init__(
        self,
        etcd: Etcd,
        server: Server,
        database: Database,
        platform: Platform,
        certificates: "Certificates",
        watch: Prometheus,
    ) -> None:
        self.etcd, self.server, self.database, self.platform = etcd, server, database, platform
        self.certificates = certificates
        self.watch = watch
        self.run = Run(watch, time.time())
        self._lasting: set[Alert] = set()

    def act(
        self, name: str, fault: Callable[[], None], raises: set[Alert], *, passing: set[Alert] | None = None
    ) -> None:
        """Let `fault` happen and wait until it has raised these alerts and no others.

        Args:
            name: of the fault.
            fault: what happens.
            raises: alerts that last to the end of the run.
            passing: alerts that last as long as the fault.
        """
        began = self.run.faults[name] = time.time()
        fault()
        wanted = self._lasting | raises | (passing or set())
        try:
            wait_until(lambda: self.watch.raised == wanted, 60, interval=0.5)
        except AssertionError:
            active = self.watch.raised
            raise AssertionError(f"{name}: missing {wanted - active}, unexpected {active - wanted}") from None
        self._lasting |= raises
        self.run.expected[name] = wanted
        samples = self.watch.query(f"count_over_time(ALERTS[{round(1000 * (time.time() - began))}ms])")
        self.run.seen[name] = {alert_of(sample["metric"]) for sample in samples} | wanted

    def over(self, remedy: Callable[[], None]) -> None:
        """Undo a fault, and wait until the alerts that came with it have gone."""
        remedy()
        wait_until(lambda: self.watch.raised == self._lasting, 60, what="the alerts of the fault to go", interval=0.5)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    if prometheus.binary() is None:
        pytest.skip("prometheus is not on the PATH; on Debian and Ubuntu: apt install prometheus")
    if mariadb.server_binary() is None:
        pytest.skip("neither mariadbd nor mysqld is on the PATH")
    with ExitStack() as stack:
        etcd = stack.enter_context(Etcd())
        server = stack.enter_context(Server.create(tmp_path_factory.mktemp("mariadb")))
        database = server.database()
        certificates = Certificates(tmp_path_factory.mktemp("certificates") / "tls")
        folder = tmp_path_factory.mktemp("platform")
        key = folder / "jwt-secret"
        key.write_text(secrets.token_hex(32))
        env = {"DB_DSN": database.url, "HASH_SLOTS": "2", "REGISTRY_TTL": "10", "FILE_POLL_INTERVAL": "0.5"}
        env |= {"JWT_SECRET": "", "JWT_SECRET_FILE": str(key)} | certificates.mount.env("GRPC_TLS")
        env |= dict(zip(("ETCD_USERNAME", "ETCD_PASSWORD"), ETCD_USER, strict=True))
        platform = stack.enter_context(Platform(etcd, folder, env=env))
        with platform.client() as client:
            assert client.post("/api/register", json=ACCOUNT).status_code == 200
            token = client.post("/api/login", json=ACCOUNT).json()["token"]
        watch = stack.enter_context(Prometheus(_config(platform), tmp_path_factory.mktemp("prometheus")))
        wait_until(
            lambda: len(watch.query("up == 1")) == 2 and watch.raised == UNAUTHENTICATED, 20, what="both to be scraped"
        )
        setup = Setup(etcd, server, database, platform, certificates, watch)
        with Traffic(partial(_mixture, platform.url, token), rate=4) as traffic:
            _everything_goes_wrong(setup, traffic, key)
        setup.run.ended = time.time()
        yield setup.run


def _config(platform: Platform) -> dict[str, Any]:
    """The configuration that is given as an example, with this platform's ports and no patience."""
    path = ROOT / "monitoring" / "scrape" / "local.yaml"
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL}
    config["rule_files"] = [str(path.parent / rule_file) for rule_file in config["rule_files"]]
    for job, process in zip(config["scrape_configs"], (*platform.gateways, *platform.users), strict=True):
        job["static_configs"][0]["targets"] = [f"127.0.0.1:{process.admin_port}"]
    return config


async def _mixture(url: str, token: str, client: httpx.AsyncClient, number: int) -> httpx.Response:
    """Send what clients send on a quiet day."""
    match number % 12:
        case 0 | 1 | 2 | 3:
            return await client.get(f"{url}/ping")
        case 4 | 5 | 6 | 7 | 8:
            return await client.get(f"{url}/api/profile", headers={"Authorization": f"Bearer {token}"})
        case 9:
            return await client.post(f"{url}/api/login", json=ACCOUNT)
        case 10:
            return await client.post(f"{url}/api/login", json=ACCOUNT | {"password": "wrong-password"})
        case _:
            return await client.post(f"{url}/api/register", json=ACCOUNT)


class Faults:
    """What goes wrong; each is done, or at least begun, when its method returns."""

    def __init__(self, setup: Setup, traffic: Traffic) -> None:
        self._scene = setup
        self._platform = setup.platform
        self._traffic = traffic

    def slow_clients(self) -> None:
        """Send bodies that take longer than an answer may."""

        def trickle() -> Iterator[bytes]:
            yield b'{"username":'
            self._traffic.wait_seconds(HASHING_SECONDS + 0.2)
            yield b'"x"}'

        for path in ("/api/login", "/api/register"):
            options = [{"content": trickle(), "headers": JSON} for _ in range(160)]
            assert set(self._at_once("POST", path, options)) == {400}

    def coming_and_going(self) -> None:
        (gateway,) = self._platform.gateways
        newcomer = self._platform.start_user()
        wait_until(lambda: sample(gateway, "registry_endpoints") == 2, 20, what="another user service to be known")
        self._platform.retire(newcomer).terminate()
        assert newcomer.wait() == 0

    def flood_of_logins(self) -> None:
        statuses = self._at_once("POST", "/api/login", [{"json": ACCOUNT}] * 400)
        assert min(statuses.count(200), statuses.count(503)) > 20, Counter(statuses)

    def forged_tokens(self) -> None:
        with self._platform.client(headers={"Authorization": "Bearer e30.e30.e30"}) as client:
            for _ in range(200):
                assert client.get("/api/profile").status_code == 401

    def guesses(self) -> None:
        body = ACCOUNT | {"username": "nobody"}
        with self._platform.client() as client:
            guessed = [
                client.post("/api/login", json=body | {"password": f"wrong{number:04}"}) for number in range(150)
            ]
        assert [answer.status_code for answer in guessed].count(429) > GUESSES

    def refreshes(self) -> None:
        """Lose the answers to some refreshes, and use the refresh tokens of other sessions twice."""
        with self._platform.client() as client:

            def refresh(tokens: list[str]) -> list[int]:
                self._scene.database.execute("UPDATE sessions SET rotated_at = rotated_at - 60000")  # beyond the grace
                statuses = []
                for number, token in enumerate(tokens):
                    answer = client.post("/api/sessions/refresh", json={"refresh_token": token})
                    statuses.append(answer.status_code)
                    newest[number] = answer.json().get("refresh_token", "")
                return statuses

            sessions = [client.post("/api/sessions", json=ACCOUNT).json() for _ in range(2 * FEWEST_BAD + 4)]
            first = [session["refresh_token"] for session in sessions]
            newest = list(first)
            assert set(refresh(first)) == {200}
            assert set(refresh(first)) == {200}, "the answers before were lost"
            assert set(refresh(newest)) == {200}
            assert set(refresh(first)) == {401}

    def lost_leases(self) -> None:
        for _ in range(5):
            ((address, lease),) = self._platform.keys.items()
            self._scene.etcd.revoke(lease)
            wait_until(lambda a=address, b=lease: self._platform.keys.get(a, b) != b, 10, what="another lease")  # type: ignore[misc]

    def locked_table(self) -> None:
        with self._scene.server.locked(self._scene.database.name, "users"):
            statuses = self._at_once("POST", "/api/register", [{"json": ACCOUNT}] * 94)
        assert statuses.count(503) > 80

    def malformed_certificate(self) -> None:
        """Keep it until both services have read it, and replace it by one that is well-formed."""
        self._scene.certificates.spoil()
        for process in (*self._platform.users, *self._platform.gateways):
            failed = partial(sample, process, "file_reloads_total", result="failed")
            wait_until(failed, 10, what="the file to be read")
        self._scene.certificates.renew()

    def enable_authentication(self) -> None:
        name, password = ETCD_USER
        self._scene.etcd.enable_auth(ETCD_ROOT, {name: (password, "readwrite", self._platform.prefix)})

    def read_only(self, value: int) -> None:
        self._scene.server.execute(f"SET GLOBAL read_only = {value}")

    def what_scanners_send(self) -> None:
        bodies = ("", "{", '{"username": "x"}')
        with self._platform.client() as client:
            for number in range(60):
                client.request(f"METHOD{number}", f"/path/{number}", headers={"X-Trace-ID": f"trace-{number}"})
                client.post(f"/api/login?{number}={number}", json={"username": f"n{number}", "password": ""})
            for method, path in product(METHODS, PATHS):
                for body, kind in product(bodies, ("application/json", "text/plain")):
                    client.request(method, path, content=body, headers={"Content-Type": kind})

    def _at_once(self, method: str, path: str, options: Sequence[dict[str, Any]]) -> list[int]:
        """Send requests at once that differ in `options`, and return the statuses."""
        limits = httpx.Limits(max_connections=len(options), max_keepalive_connections=0)
        with self._platform.client(limits=limits) as client, ThreadPoolExecutor(len(options)) as pool:
            sent = [pool.submit(client.request, method, path, timeout=60, **each) for each in options]
            return [each.result().status_code for each in sent]


def _everything_goes_wrong(setup: Setup, traffic: Traffic, key: Path) -> None:
    faults = Faults(setup, traffic)
    platform = setup.platform
    setup.act("etcd accepts anyone", lambda: traffic.wait_for(4), set(), passing=UNAUTHENTICATED)
    setup.over(faults.enable_authentication)
    setup.act("a quiet day", lambda: traffic.wait_for(40), set())
    setup.act("an instance comes and goes", faults.coming_and_going, set())
    setup.act(
        "clients send slowly", faults.slow_clients, both("LoginLatencyBudgetBurn") | both("RequestLatencyBudgetBurn")
    )
    setup.act(
        "a flood of logins",
        faults.flood_of_logins,
        both("LoginErrorBudgetBurn") | {("PasswordHashRefusals", "warning")},
    )
    setup.act("forged tokens", faults.forged_tokens, {("TokenVerificationFailures", "warning")})
    setup.act("passwords are guessed", faults.guesses, {("PasswordGuessing", "warning")})
    setup.act("leases revoked by hand", faults.lost_leases, {("RegistryLeaseFlapping", "warning")})
    setup.act("a table is locked", faults.locked_table, both("RequestErrorBudgetBurn"))
    setup.act(
        "a certificate is about to expire",
        setup.certificates.nearly_expire,
        set(),
        passing=both("TlsCertificateExpires"),
    )
    setup.over(setup.certificates.renew)
    setup.act("a renewed certificate is malformed", faults.malformed_certificate, {("MountedFileUnusable", "warning")})
    setup.act(
        "the database is read-only", partial(faults.read_only, 1), set(), passing={("DatabaseReadOnly", "critical")}
    )
    setup.over(partial(faults.read_only, 0))
    setup.act(
        "the database is killed",
        setup.server.kill,
        set(),
        passing={("DatabaseUnavailable", "critical"), ("RevocationsStale", "warning")}
        | both("GatewayFindsNoUserService"),
    )
    setup.over(setup.server.start)
    setup.act(
        "etcd hangs",
        setup.etcd.suspend,
        set(),
        passing={("RegistryNoLease", "critical"), ("RegistrySnapshotStale", "warning")},
    )
    setup.over(setup.etcd.resume)
    setup.act("scanners pass by", faults.what_scanners_send, set())
    for process in (*platform.users, *platform.gateways):
        lines = admin(process, "/metrics").text.splitlines()
        setup.run.series[process.module] = sum(not line.startswith("#") for line in lines)
    setup.act(
        "refreshes get lost and are stolen",
        faults.refreshes,
        {("RefreshRecoveriesHigh", "warning"), ("RefreshTokensReused", "warning")},
    )
    setup.act(
        "an empty key is mounted",
        partial(_empty, key),
        {("KeyReloadFailed", "warning"), ("MountedFileUnusable", "warning")},
    )
    setup.act(
        "the user service is killed",
        platform.users[0].kill,
        {("UserServiceDown", "critical"), ("TargetDown", "warning")},
        passing=both("GatewayFindsNoUserService"),
    )
    setup.act("the gateway is killed", platform.gateways[0].kill, {("GatewayDown", "critical")})


def _empty(file: Path) -> None:
    file.write_text("")


def test_each_fault_raises_exactly_its_alerts(run: Run) -> None:
    for fault, alerts in run.seen.items():
        assert alerts - MOMENTARY.get(fault, set()) == run.expected[fault], fault


def test_every_alert_was_raised(run: Run) -> None:
    alerts = {(rule["alert"].removeprefix(PREFIX), rule["labels"]["severity"]) for rule in rules() if "alert" in rule}
    assert set().union(*run.seen.values()) == alerts


@pytest.mark.parametrize("query", measurements(), ids=lambda query: query.where)
def test_every_query_has_an_answer(run: Run, query: Query) -> None:
    assert run.watched_by.history(query.expr, run.began, run.ended), query.expr


def test_a_process_has_few_series_whatever_clients_send(run: Run) -> None:
    assert max(run.series.values()) <= MOST_SERIES, run.series
