"""What clients see: the flow that they are written against, byte for byte, from both kinds of database."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import jwt
import pytest

from tests.platform.conftest import account
from tests.support.etcd import Etcd
from tests.support.mariadb import Database
from tests.support.platform import Platform
from tests.support.wait import wait_until


@pytest.fixture(params=["sqlite", "mariadb"])
def empty(
    request: pytest.FixtureRequest, etcd: Etcd, make_platform: Callable[..., Platform]
) -> tuple[Platform, Database | None]:
    """A platform without users; on MariaDB it is configured as a Go program writes it."""
    if request.param == "sqlite":
        return make_platform(etcd), None
    database: Database = request.getfixturevalue("database")
    return make_platform(etcd, env={"DB_DSN": database.go_dsn}), database


def test_the_flow_byte_for_byte(empty: tuple[Platform, Database | None]) -> None:
    platform, database = empty
    with platform.client() as client:
        pinged = client.get("/ping")
        registered = client.post("/api/register", json=account())
        logged_in = client.post("/api/login", json=account())
        refused = client.post("/api/login", json=account(password="wrongpassword"))
        again = client.post("/api/register", json=account())
        token = logged_in.json()["token"]
        profile = client.get("/api/profile", headers={"Authorization": f"Bearer {token}"})

    assert seen(pinged) == (200, b'{"message":"pong"}')
    assert seen(registered) == (200, '{"code":200,"msg":"注册成功","user_id":1}'.encode())
    assert seen(logged_in) == (200, f'{{"code":200,"msg":"登录成功","token":"{token}","user_id":1}}'.encode())
    assert seen(refused) == (401, '{"code":401,"msg":"密码错误","token":"","user_id":0}'.encode())
    assert seen(again) == (409, '{"code":409,"msg":"用户名已存在","user_id":0}'.encode())
    assert seen(profile) == (
        200,
        '{"code":200,"msg":"获取用户信息成功","data":{"user_id":1,"username":"testuser123"}}'.encode(),
    )
    claims = jwt.decode(token, platform.jwt_secret, algorithms=["HS256"])
    assert (claims["user_id"], claims["username"], claims["sub"]) == (1, "testuser123", "1")
    assert claims["exp"] - claims["iat"] == 24 * 3600
    if database:
        (row,) = database.execute("SELECT username, password FROM users")
        assert row["username"] == "testuser123"
        assert row["password"].startswith("$2b$10$")


def seen(answer: httpx.Response) -> tuple[int, bytes]:
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-trace-id"]
    return answer.status_code, answer.content


def test_fifty_registrations_of_one_name_make_one_user(client: httpx.Client) -> None:
    names = ["fiftyfold", "FIFTYFOLD", "FiftyFold", "fiftyFOLD", "fIFTYfOLD"] * 10

    def register(name: str) -> httpx.Response:
        """Try until it is no longer too busy, as clients do."""

        def answer() -> httpx.Response | None:
            got = client.post("/api/register", json=account(name))
            return None if got.status_code == 503 else got

        got = wait_until(answer, 30)
        assert got is not None
        return got

    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(register, names))
    bodies = sorted((answer.status_code, answer.json()["msg"]) for answer in answers)
    assert bodies == [(200, "注册成功")] + [(409, "用户名已存在")] * 49
    (user_id,) = {answer.json()["user_id"] for answer in answers} - {0}
    assert client.post("/api/login", json=account("FIFTYfold")).json()["user_id"] == user_id
