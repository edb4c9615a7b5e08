"""Clusters that lose members under steady registrations and logins."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx
import pymysql
import pytest

from tests.databases.conftest import migrate
from tests.support.db_cluster import Replication, behind_haproxy, galera, is_synced, is_writable, start_all
from tests.support.etcd import Etcd
from tests.support.mariadb import PASSWORD as DB_PASSWORD
from tests.support.mariadb import USER, Database, Server
from tests.support.platform import Platform
from tests.support.traffic import Sent, Traffic
from tests.support.wait import wait_until

ROUNDS = int(os.environ.get("ROUNDS", "1"))
"""How often each fault is made; .ci/full sets it."""

BACK = 5.0
"""Seconds within which a member that is usable and reachable must be in use."""
RATE = 1.5
"""Requests a second of each client: few enough for two busy cores to hash every password in time."""
OUTAGE = 3.0
"""Seconds for which a member stays lost, at least."""

PASSWORD = "password123"
STEADY = {"username": "steady", "password": PASSWORD}

pytestmark = [pytest.mark.faults, pytest.mark.exclusive, pytest.mark.timeout(240 + 180 * ROUNDS)]


class Run:
    """Two clients that register the same names at once and one that logs in, by way of a cluster behind HAProxy."""

    def __init__(self, platform: Platform, port: int, is_usable: str) -> None:
        """`is_usable` is a query that returns a row on a member that can be used."""
        self._platform = platform
        self._port = port
        self._is_usable = is_usable
        self._recoveries: list[str] = []
        self._ids: list[tuple[str, int]] = []
        self._registrations = [Traffic(self._register, rate=RATE) for _ in range(2)]
        self._logins = Traffic(self._log_in, rate=RATE)
        self._all = [*self._registrations, self._logins]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send requests meanwhile."""
        with self._platform.client() as client:
            wait_until(lambda: client.post("/api/register", json=STEADY).status_code in (200, 409), 30)
        with ExitStack() as stack:
            for traffic in self._all:
                stack.enter_context(traffic)
            yield

    def go_on(self) -> None:
        """Wait until each client had a few answers."""
        for traffic in self._all:
            traffic.wait_for(3)

    def during_outage(self) -> None:
        """Let the clients go on for the length of an outage."""
        self._logins.wait_seconds(OUTAGE)

    def wait_until_served(self, after: str) -> None:
        """Wait until everyone is served again; the time counts from when a usable member can be reached."""
        wait_until(self._is_reachable, 60, what="a usable member to be reachable through HAProxy")
        reachable = time.monotonic()
        wait_until(partial(self._is_served_since, reachable), BACK, what=f"everyone to be served after {after}")
        self._recoveries.append(f"{after}: {time.monotonic() - reachable:.1f} s")
        self.go_on()

    def check(self, members: Sequence[Server], database: str, report: Callable[[str], None]) -> None:
        """Compare the answers with the rows of every member, and report the figures."""
        lost = set[tuple[str, int]]()
        for member in members:
            rows = Counter(
                (row["username"], row["id"])
                for row in member.execute("SELECT id, username FROM users", database=database)
            )
            lost |= set(self._ids) - rows.keys()
            names = Counter(name for name, _ in rows)
            assert set(names.values()) == {1}, "a name has two rows"
        sent = self._sent()
        refused, busy = sum(map(is_refused, sent)), sum(map(is_busy, sent))
        report(
            f"{len(sent)} requests, {refused} refused and {busy} more for want of cores, {len(self._ids)} registered, "
            f"{len(lost)} lost; served again after {', '.join(self._recoveries)}"
        )
        assert not lost
        assert len(dict(self._ids)) == len(self._ids), "a name was registered twice"
        assert Counter(s.error or s.status for s in sent if s.status not in (200, 409, 503)) == {}
        assert not self._logins.others(200, 503)

    def _sent(self) -> list[Sent]:
        return [sent for traffic in self._all for sent in list(traffic.sent)]

    async def _register(self, client: httpx.AsyncClient, number: int) -> httpx.Response:
        name = f"user_{number}"
        body = {"username": name, "password": PASSWORD}
        answer = await client.post(f"{self._platform.url}/api/register", json=body)
        if answer.status_code == 200:
            self._ids.append((name, answer.json()["user_id"]))
        return answer

    async def _log_in(self, client: httpx.AsyncClient, _number: int) -> httpx.Response:
        return await client.post(f"{self._platform.url}/api/login", json=STEADY)

    def _is_served_since(self, when: float) -> bool:
        return all(any(s.at >= when and not is_refused(s) for s in list(traffic.sent)) for traffic in self._all)

    def _is_reachable(self) -> bool:
        try:
            connection = pymysql.connect(
                host="127.0.0.1", port=self._port, user=USER, password=DB_PASSWORD, read_timeout=1.0
            )
            with connection, connection.cursor() as cursor:
                return bool(cursor.execute(self._is_usable))
        except (OSError, pymysql.MySQLError):
            return False


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print a line that is seen when the test passes, too."""

    def report(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}")

    return report


def is_refused(sent: Sent) -> bool:
    """Whether the platform could not use the database; that cores are busy with other tests is another matter."""
    return sent.status not in (200, 409) and not is_busy(sent)


def is_busy(sent: Sent) -> bool:
    return sent.status == 503 and sent.body["msg"] == "服务繁忙，请稍后重试"


@contextmanager
def platform_on(database: Database, port: int, etcd: Etcd, folder: Path) -> Iterator[Platform]:
    """Run a platform on a database that it reaches through a proxy."""
    migrate(database)
    with Platform(etcd, folder, env={"DB_DSN": database.go_dsn_by(port)}) as platform:
        users, gateways = list(platform.users), list(platform.gateways)
        yield platform
        assert all(process.running for process in [*users, *gateways])


def test_a_galera_cluster_loses_nodes(etcd: Etcd, tmp_path: Path, report: Callable[[str], None]) -> None:
    ready = (
        "SELECT 1 FROM information_schema.global_status WHERE variable_name = 'wsrep_ready' AND variable_value = 'ON'"
    )
    with galera() as nodes, behind_haproxy(tmp_path, nodes, is_synced) as port:
        first, second, third = nodes
        database = first.database()
        with platform_on(database, port, etcd, tmp_path) as platform:
            run = Run(platform, port, ready)
            with run.running():
                for _ in range(ROUNDS):
                    run.go_on()
                    first.kill()
                    run.wait_until_served("one killed")
                    first.start()
                    run.wait_until_served("it rejoined")
                    wait_until(partial(is_synced, first), 60)  # else two of three are lost
                    second.suspend()
                    run.wait_until_served("one stopped")
                    second.resume()
                    run.wait_until_served("it resumed")
                    wait_until(partial(is_synced, second), 60)  # the one that is left
                    for node in (first, third):
                        node.kill()
                    run.during_outage()
                    start_all([first, third])
                    run.wait_until_served("two killed and started")
            wait_until(lambda: all(map(is_synced, nodes)), 60)
            run.check(nodes, database.name, report)


def test_a_replica_is_promoted(etcd: Etcd, tmp_path: Path, report: Callable[[str], None]) -> None:
    with Replication(tmp_path) as replication, behind_haproxy(tmp_path, replication.servers, is_writable) as port:
        database = replication.primary.database()
        with platform_on(database, port, etcd, tmp_path) as platform:
            run = Run(platform, port, "SELECT 1 FROM dual WHERE @@global.read_only = 0")
            faults: list[tuple[str, Callable[[Server], object]]] = [
                ("a switchover", replication.demote),
                ("the primary was killed", Server.kill),
                ("it was stopped", Server.suspend),
            ]
            with run.running():
                for name, fault in faults * ROUNDS:
                    run.go_on()
                    fault(replication.primary)
                    replication.fail_over()
                    run.wait_until_served(name)
                    replication.rebuild_replica()
            replication.wait_until_in_step()
            run.check(replication.servers, database.name, report)
