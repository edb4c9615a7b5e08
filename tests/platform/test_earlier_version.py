"""Instances of an earlier version and of this one side by side, as during a rollout and after a rollback."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.platform.conftest import PASSWORD, account
from tests.support import earlier
from tests.support.etcd import Etcd
from tests.support.mariadb import Database, Server
from tests.support.platform import Platform
from tests.support.process import Process
from tests.support.traffic import Send, Traffic
from tests.support.wait import wait_until

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not earlier.is_known(), reason=f"this clone lacks {earlier.COMMIT}: git fetch --unshallow"),
]

SESSION = {"username": "testuser123", "password": PASSWORD}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables by which a process runs the earlier version."""
    return earlier.install(tmp_path_factory.mktemp("earlier"))


@pytest.fixture
def bare(etcd: Etcd, make_platform: Callable[..., Platform], database: Database) -> Platform:
    """A platform on MariaDB in which nothing runs yet."""
    return make_platform(etcd, users=0, gateways=0, env={"DB_DSN": database.go_dsn})


def flow(client: httpx.Client) -> Iterator[tuple[int, bytes]]:
    """Do what existing clients do; statuses and bodies, without what differs from call to call."""
    for path, body in (
        ("/api/register", account()),
        ("/api/register", account()),
        ("/api/register", account("x")),
        ("/api/login", account(password="wrongpassword")),
        ("/api/login", account("nobody")),
        ("/api/login", account()),
    ):
        answer = client.post(path, json=body)
        token = answer.json().get("token", "")
        yield answer.status_code, answer.content.replace(token.encode(), b"<token>") if token else answer.content
    for header in (f"Bearer {token}", f"Bearer {token}x", "Bearer x", "Basic x"):
        answer = client.get("/api/profile", headers={"Authorization": header})
        yield answer.status_code, answer.content
    answer = client.get("/ping")
    yield answer.status_code, answer.content


def test_clients_see_no_difference(bare: Platform, old: dict[str, str], mariadb: Server) -> None:
    seen = {}
    for name, gateway, user in (("both", {}, {}), ("gateway", old, {}), ("user service", {}, old)):
        started = [bare.start_user(DB_DSN=mariadb.database().go_dsn, **user), bare.start_gateway(**gateway)]
        bare.wait_until_ready()
        with bare.client() as client:
            seen[name] = list(flow(client))
        for process in started:
            bare.retire(process).terminate()
            assert process.wait() == 0
    assert seen["both"][0] == (200, '{"code":200,"msg":"注册成功","user_id":1}'.encode())
    assert seen["gateway"] == seen["user service"] == seen["both"]


def test_sessions_wait_for_a_newer_user_service(bare: Platform, old: dict[str, str]) -> None:
    bare.start_user(**old)
    bare.start_gateway()
    bare.wait_until_ready()
    with bare.client() as client:
        client.post("/api/register", json=SESSION)
        refused = client.post("/api/sessions", json=SESSION)
        assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (503, True)
        bare.start_user()
        bare.wait_until_ready()
        # a login at the earlier one says no generation, by which a session could be opened
        opened = [client.post("/api/sessions", json=SESSION) for _ in range(6)]
        assert {answer.status_code for answer in opened} == {200, 503}
        tokens = [answer.json()["refresh_token"] for answer in opened if answer.status_code == 200]
        # while a refresh that reaches the earlier one is tried again at the other
        refreshed = [client.post("/api/sessions/refresh", json={"refresh_token": token}) for token in tokens * 3]
        assert {answer.status_code for answer in refreshed} == {200}


def test_a_rollout_and_a_rollback_lose_no_request(bare: Platform, old: dict[str, str], database: Database) -> None:
    processes = [bare.start_user(**old) for _ in range(2)]
    bare.start_gateway()
    bare.wait_until_ready()
    with bare.client() as client:
        client.post("/api/register", json=SESSION)

    async def send(client: httpx.AsyncClient, number: int) -> httpx.Response:
        if number % 2:
            return await client.post(f"{bare.url}/api/login", json=SESSION)
        return await client.post(f"{bare.url}/api/register", json=account(f"user_{number}"))

    with Traffic(send, rate=3) as traffic:
        for env in ({}, old):
            newcomers = []
            for process in processes:
                newcomers.append(bare.start_user(**env))
                bare.wait_until_ready()
                bare.retire(process).terminate()
                assert process.wait() == 0
            processes = newcomers
            traffic.wait_for(20)
    assert traffic.others(200) == []
    registered = sum(isinstance(sent.body, dict) and "token" not in sent.body for sent in traffic.sent)
    (row,) = database.execute("SELECT COUNT(*) AS held FROM users")
    assert row["held"] == registered + 1


def test_ten_instances_migrate_beside_an_earlier_one(bare: Platform, old: dict[str, str], database: Database) -> None:
    bare.start_user(**old)
    bare.start_gateway()
    bare.wait_until_ready()
    with Traffic(_registers(bare), rate=3) as traffic:
        newcomers: list[Process] = [bare.start_user() for _ in range(10)]
        bare.wait_until_ready()
        traffic.wait_for(20)
    assert traffic.others(200) == []
    assert not [line for process in newcomers for line in process.records if line["level"] == "ERROR"]
    tables = {row[key] for row in database.execute("SHOW TABLES") for key in row}
    assert tables >= {"users", "sessions", "revocations"}
    wait_until(lambda: len(bare.keys) == 11, what="all to be registered")


def _registers(platform: Platform) -> Send:
    async def send(client: httpx.AsyncClient, number: int) -> httpx.Response:
        return await client.post(f"{platform.url}/api/register", json=account(f"user_{number}"))

    return send
