"""The platform that all clients talk to, and what they must see."""

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.support.platform import is_ready
from tests.support.process import Process
from tests.support.wait import wait_until

Answers = dict[str, tuple[int, Any]]
"""The status and the parsed body of each call, by its name."""

PASSWORD = "password123"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One gateway with one user service on SQLite; leave both as they were."""
    folder = tmp_path_factory.mktemp("clients")
    with Process("user_svc", env={"DATA_DIR": str(folder)}, cwd=folder) as users:
        env = {"JWT_SECRET": "a secret of the tests, at least 32 bytes long", "USER_SERVICE_TARGET": users.target}
        with Process("gateway_svc", env=env, cwd=folder) as gateway:
            for process in (users, gateway):
                wait_until(partial(is_ready, process), 30, what=f"{process.module} to be ready")
            yield gateway


@pytest.fixture(scope="session")
def url(gateway: Process) -> str:
    """Where the gateway answers."""
    return f"http://127.0.0.1:{gateway.port}"


@pytest.fixture
def username() -> str:
    """A name that is not registered."""
    return f"client_{next(_numbers)}"


def check(answers: Answers, username: str, *, problems: bool = False) -> None:
    """Assert that a client that registered `username` got each documented answer; refusals may be RFC 9457 problems."""
    user_id = answers["register"][1].get("user_id")
    token = answers["login"][1].get("token")
    too_short = "至少 3 个字符"
    expected = {
        "register": (200, {"code": 200, "msg": "注册成功", "user_id": user_id}),
        "login": (200, {"code": 200, "msg": "登录成功", "token": token, "user_id": user_id}),
        "profile": (
            200,
            {"code": 200, "msg": "获取用户信息成功", "data": {"user_id": user_id, "username": username}},
        ),
        "wrongPassword": (401, {"code": 401, "msg": "密码错误", "token": "", "user_id": 0}),
        "badRequest": (400, {"code": 400, "msg": f"参数错误: username: {too_short}"}),
    }
    if problems:
        for name, title in (("wrongPassword", "Unauthorized"), ("badRequest", "Bad Request")):
            status, body = expected[name]
            assert answers[name][1].pop("instance")
            expected[name] = (
                status,
                {"type": "about:blank", "title": title, "status": status, "detail": body["msg"]},
            )
        expected["badRequest"][1]["errors"] = [{"pointer": "#/username", "detail": too_short}]
    assert {name: tuple(answer) for name, answer in answers.items()} == expected
    assert user_id > 0
    assert token
