"""Sessions of the whole platform: whatever clients, thieves, time and backups do, and whatever fails."""

import base64
import os
import random
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support import faketime
from tests.support.etcd import Etcd
from tests.support.mariadb import Server
from tests.support.platform import Platform, sample
from tests.support.wait import wait_until
from tests.user_svc.sessions.chains import BEYOND_GRACE, Answer, Chains
from user_svc.sessions.rules import Result

PASSWORD = "password123"
ROUNDS = int(os.environ.get("ROUNDS", "5"))
"""User services that are killed, each with 20 refreshes in flight."""
AGE = (
    "UPDATE sessions SET created_at = created_at - {0}, rotated_at = rotated_at - {0}, used_at = used_at - {0}, "
    "expires_at = expires_at - {0}, ended_at = ended_at - {0}"
)
RESULTS = {
    "无效的刷新凭证": Result.UNKNOWN,
    "登录凭证被重复使用，请重新登录": Result.REUSED,
    "已退出登录": Result.ENDED,
}

Row = dict[str, Any]
Execute = Callable[..., list[Row]]


@dataclass
class Setup:
    """A platform, a client of each gateway, and a way past them to the database."""

    platform: Platform
    clients: list[httpx.Client]
    execute: Execute

    def register(self) -> str:
        name = f"u_{secrets.token_hex(6)}"
        account = {"username": name, "password": PASSWORD}
        assert self.clients[0].post("/api/register", json=account).status_code == 200
        return name

    def open(self, name: str, client: int = 0) -> Row:
        answer = self.clients[client].post("/api/sessions", json={"username": name, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def refresh(self, token: str, client: int = 0) -> httpx.Response:
        return self.clients[client].post("/api/sessions/refresh", json={"refresh_token": token})


def on_sqlite(file: Path) -> Execute:
    def execute(statement: str, *values: object) -> list[Row]:
        with closing(sqlite3.connect(file, timeout=10)) as connection, connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(statement, values)]

    return execute


@pytest.fixture(scope="module", params=["sqlite", "mariadb"])
def setup(request: pytest.FixtureRequest, etcd: Etcd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    folder = tmp_path_factory.mktemp("sessions")
    env: dict[str, str] = {}
    offsets = ["", ""]
    execute = on_sqlite(folder / "users.db")
    if request.param == "mariadb":
        server: Server = request.getfixturevalue("mariadb")
        database = server.database()
        env["DB_DSN"] = database.go_dsn
        # the moments are the database's, so it makes no difference when the instances' clocks disagree
        offsets = ["+60s", "-60s"]

        def execute(statement: str, *values: object) -> list[Row]:
            literals = (f"X'{each.hex()}'" if isinstance(each, bytes) else repr(each) for each in values)
            text = statement.replace("?", "{}").format(*("NULL" if each == "None" else each for each in literals))
            return database.execute(text)

    with Platform(etcd, folder, users=1, gateways=2, env=env) as platform, platform.clients() as clients:
        for offset in offsets:
            platform.start_user(**(faketime.env(offset) if offset else {}))
        platform.wait_until_ready()
        yield Setup(platform, clients, execute)


@dataclass
class LiveSystem:
    """The `System` over HTTP, by way of both gateways in turn."""

    setup: Setup
    name: str
    tokens: dict[tuple[bytes, int], str] = field(default_factory=dict)
    waited: int = 0
    backup: tuple[int, list[Row]] = (0, [])
    turn: int = 0

    def open(self) -> bytes:
        answer = self.setup.open(self.name)
        session_id = bytes.fromhex(answer["session_id"])
        assert self._keep(session_id, answer["refresh_token"]) == 1
        return session_id

    def refresh(self, session_id: bytes, serial: int) -> Answer:
        self.turn += 1
        answer = self.setup.refresh(self.tokens[session_id, serial], self.turn % 2)
        if answer.status_code != 200:
            return RESULTS[answer.json()["msg"]], 0
        return Result.ROTATED, self._keep(session_id, answer.json()["refresh_token"])

    def _keep(self, session_id: bytes, token: str) -> int:
        serial = int.from_bytes(base64.urlsafe_b64decode(token.removeprefix("vpr_") + "==")[20:24], "big")
        self.tokens[session_id, serial] = token
        return serial

    def wait(self, milliseconds: int) -> None:
        self.waited += milliseconds
        self.setup.execute(AGE.format(milliseconds))

    def back_up(self) -> None:
        self.backup = self.waited, self.setup.execute("SELECT * FROM sessions")

    def restore(self) -> None:
        then, rows = self.backup
        self.setup.execute("DELETE FROM sessions")
        for row in rows:
            marks = ", ".join("?" for _ in row)
            self.setup.execute(f"INSERT INTO sessions ({', '.join(row)}) VALUES ({marks})", *row.values())
        self.setup.execute(AGE.format(self.waited - then))


@pytest.mark.timeout(300)
def test_chains_hold_on_the_platform(setup: Setup) -> None:
    name = setup.register()
    run_state_machine_as_test(
        lambda: Chains(LiveSystem(setup, name)),  # type: ignore[arg-type]
        settings=settings(max_examples=5, stateful_step_count=20, deadline=None, suppress_health_check=[*HealthCheck]),
    )


def test_twenty_refreshes_at_once_get_one_token(setup: Setup) -> None:
    def rotated() -> float:
        return sum(sample(user, "session_refreshes_total", result="rotated") for user in setup.platform.users)

    token = setup.open(setup.register())["refresh_token"]
    setup.execute(AGE.format(BEYOND_GRACE))
    before = rotated()
    with ThreadPoolExecutor(20) as threads:
        answers = [*threads.map(lambda n: setup.refresh(token, n % 2), range(20))]
    assert {answer.status_code for answer in answers} == {200}
    (newest,) = {answer.json()["refresh_token"] for answer in answers}
    assert newest != token
    assert rotated() - before == 1


@pytest.mark.faults
@pytest.mark.timeout(120 + 20 * ROUNDS)
def test_killed_user_services_end_no_session(etcd: Etcd, mariadb: Server, tmp_path: Path) -> None:
    database = mariadb.database()
    with (
        Platform(etcd, tmp_path, users=3, gateways=2, env={"DB_DSN": database.go_dsn}) as platform,
        platform.clients() as clients,
        ThreadPoolExecutor(20) as threads,
    ):
        setup = Setup(platform, clients, database.execute)
        name = setup.register()
        tokens = [setup.open(name, n % 2)["refresh_token"] for n in range(20)]

        def refresh(n: int) -> str:
            """Present a token until there is an answer, as clients do."""
            answer = wait_until(lambda: (got := setup.refresh(tokens[n], n % 2)).status_code != 503 and got, 30)
            assert isinstance(answer, httpx.Response)
            assert answer.status_code == 200, answer.text
            return str(answer.json()["refresh_token"])

        for _ in range(ROUNDS):
            setup.execute(AGE.format(BEYOND_GRACE))
            victim = platform.users[0]
            answers = [threads.submit(refresh, n) for n in range(20)]
            time.sleep(random.uniform(0, 0.1))  # any moment of the calls' time
            victim.kill()
            platform.retire(victim)
            renewed = [answer.result() for answer in answers]
            assert not set(renewed) & set(tokens)
            tokens = renewed
            platform.start_user()
            platform.wait_until_ready()
    (row,) = database.execute("SELECT COUNT(*) AS held, COUNT(ended_at) AS ended FROM sessions")
    assert row == {"held": 20, "ended": 0}
