"""`python -m user_svc users`: what operators see and do."""

import argparse
import io
import json
import logging
import os
import pty
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from protos.user.v1 import user_pb2
from service_kit.settings import load
from tests.support.mariadb import Database as Scratch
from tests.support.mariadb import Server
from tests.support.process import ROOT, Process
from tests.support.tcp_proxy import COMMIT, TcpProxy
from tests.user_svc.client import PASSWORD, Client, ready_client
from tests.user_svc.sessions.support import execute
from user_svc import audit, deadline, dsn, operators, schema
from user_svc.config import DatabaseSettings
from user_svc.database import Database

NEW = "ripe-avocado"
WRONG = "wrong-password"


@dataclass
class Done:
    """A command that has ended, and the lines of the audit log that it wrote."""

    code: int
    out: str
    err: str
    audit: list[dict[str, Any]]

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(folder: Path, env: dict[str, str], *arguments: str, stdin: bytes = b"") -> Done:
    """Run a command as a process of its own."""
    command = [sys.executable, "-m", "user_svc", "users", *arguments]
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "BCRYPT_COST": "10", **env}
    ended = subprocess.run(command, cwd=folder, env=given, input=stdin, capture_output=True, timeout=60, check=False)
    err = ended.stderr.decode().splitlines(keepends=True)
    lines = [json.loads(line) for line in err if line.startswith("{")]
    return Done(
        ended.returncode,
        ended.stdout.decode(),
        "".join(line for line in err if not line.startswith("{")),
        [line for line in lines if line["logger"] == "user_svc.audit"],
    )


class Standard(io.TextIOWrapper):
    """Standard input that is no terminal."""

    def __init__(self, text: bytes) -> None:
        super().__init__(io.BytesIO(text))


class Terminal(Standard):
    """A terminal, on which `meanwhile` is called before the answer."""

    def __init__(self, text: bytes, meanwhile: Callable[[], object]) -> None:
        super().__init__(text)
        self._meanwhile = meanwhile

    def isatty(self) -> bool:
        return True

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]  # as of its base class
        self._meanwhile()
        return super().readline(size)


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.held: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.held.append(vars(record) | {"message": record.getMessage()})


@dataclass
class Desk:
    """A service, and an operator beside it."""

    client: Client
    folder: Path
    env: dict[str, str]

    def users(self, *arguments: str, stdin: bytes | Standard = b"") -> Done:
        """Run a command in this process, since Python takes seconds to start."""
        parser = argparse.ArgumentParser(prog="python -m user_svc users")
        operators.add_arguments(parser)
        out, err, records = io.StringIO(), io.StringIO(), _Records()
        audit.logger.addHandler(records)
        with (
            redirect_stdout(out),
            redirect_stderr(err),
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.chdir(self.folder)
            patch.setattr(sys, "stdin", stdin if isinstance(stdin, Standard) else Standard(stdin))
            for name, value in {"BCRYPT_COST": "10", **self.env}.items():
                patch.setenv(name, value)
            try:
                code = operators.run(parser.parse_args(arguments), load(DatabaseSettings))
            except SystemExit as ended:
                code = int(str(ended.code))
        audit.logger.removeHandler(records)
        return Done(code, out.getvalue(), err.getvalue(), records.held)

    def register(self, name: str) -> int:
        answer = self.client.register(name)
        assert answer.code == 200
        return answer.user_id

    def open(self, user_id: int, device: str = "phone") -> bytes:
        session_id = secrets.token_bytes(16)
        request = user_pb2.OpenSessionRequest(session_id=session_id, user_id=user_id, device=device)
        assert self.client.users.OpenSession(request, timeout=5).code == 200
        return session_id

    def refresh(self, session_id: bytes) -> str:
        request = user_pb2.RefreshSessionRequest(session_id=session_id, serial=1)
        return self.client.users.RefreshSession(request, timeout=6).msg

    def revoked(self, user_id: int) -> list[tuple[int, bool, bool]]:
        """The generation, whether the user is disabled, and whether the entry stays, of each entry of the feed."""
        feed = self.client.users.ListRevocations(user_pb2.ListRevocationsRequest(), timeout=5)
        rows = [(row.user, row.expires_at) for row in feed.revocations if row.user.user_id == user_id]
        return [(user.generation, user.disabled, expires_at == 0) for user, expires_at in rows]


@pytest.fixture(scope="module", params=["sqlite", "mariadb"])
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("operators")
    env = {}
    if request.param == "mariadb":
        server: Server = request.getfixturevalue("mariadb")
        env["DB_DSN"] = server.database().go_dsn
    with Process("user_svc", env=env, cwd=folder) as process, ready_client(process) as client:
        yield Desk(client, folder, env)


def test_users_are_listed_a_page_at_a_time(desk: Desk, name: str) -> None:
    first, second = desk.register(name), desk.register(f"{name[:-1]}x")
    desk.open(second)
    desk.users("disable", f"id:{first}")
    page = desk.users("list", "--after", str(first - 1), "--limit", "1")
    lines = page.out.splitlines()
    assert lines[0].split() == ["ID", "USERNAME", "STATE", "CREATED_AT", "SESSIONS"]
    assert lines[1].split()[:3] == [str(first), name, "disabled"]
    assert page.err == f"there are more: --after {first}\n"
    rest = desk.users("list", "--after", str(first), "--json").json
    assert [(user["id"], user["state"], user["sessions"]) for user in rest] == [(second, "active", 1)]
    assert desk.users("list", "--state", "disabled", "--after", str(first - 1), "--json").json[0]["id"] == first


def test_a_user_is_shown_with_sessions(desk: Desk, name: str) -> None:
    user_id = desk.register(name)
    session_id = desk.open(user_id, "phone\x1b[2J\x9b")
    shown = desk.users("show", name.upper())
    assert shown.code == 0
    assert session_id.hex()[:8] in shown.out
    assert session_id.hex()[8:] not in shown.out
    assert shown.out.isprintable() or not set(shown.out) & {"\x1b", "\x9b"}
    found = desk.users("show", f"id:{user_id}", "--json")
    assert "$2b$" not in shown.out + found.out
    assert (found.json["username"], found.json["state"], found.json["generation"]) == (name, "active", 0)
    assert [row["session"] for row in found.json["sessions"]] == [session_id.hex()[:8]]
    assert found.json["created_at"].endswith("Z")


def test_a_disabled_user_is_out_until_enabled(desk: Desk, name: str) -> None:
    user_id = desk.register(name)
    session_id = desk.open(user_id)
    done = desk.users("disable", name)
    assert (done.code, done.out) == (0, "")
    assert f"{name} (id {user_id}) is disabled, and logged out everywhere" in done.err
    (line,) = done.audit
    assert (line["message"], line["user_id"], line["by"]) == ("disabled", user_id, "operator")
    assert desk.refresh(session_id) == "账号已停用"
    assert desk.revoked(user_id) == [(1, True, True)]
    login = desk.client.login(name)
    assert (login.code, login.disabled) == (401, True)
    assert desk.client.login(name, WRONG) == user_pb2.LoginResponse(code=401, msg="密码错误")
    again = desk.users("disable", name)
    assert (again.code, again.audit) == (0, [])

    assert desk.users("enable", name).code == 0
    assert desk.client.login(name).generation == 1
    assert desk.refresh(session_id) == "已退出登录"
    assert desk.revoked(user_id) == [(1, False, False), (1, False, False)]
    assert "is not disabled" in desk.users("enable", name).err


def test_a_user_is_logged_out_everywhere(desk: Desk, name: str) -> None:
    user_id = desk.register(name)
    session_id = desk.open(user_id)
    done = desk.users("logout", name, "--json")
    assert done.json["sessions"] == 0
    assert [(line["message"], line["sessions"]) for line in done.audit] == [("logged_out", 1)]
    assert desk.refresh(session_id) == "已退出登录"
    assert desk.client.login(name).generation == 1


def test_erasing_keeps_the_id_and_frees_the_name(desk: Desk, name: str) -> None:
    user_id = desk.register(name)
    session_id = desk.open(user_id)
    for _ in range(3):
        desk.client.login(name, WRONG)
    assert desk.users("erase", name).code == 1
    assert desk.client.login(name, PASSWORD).code == 200
    done = desk.users("erase", name, "--yes")
    assert done.code == 0
    assert [line["message"] for line in done.audit] == ["erased"]
    assert desk.refresh(session_id) == "无效的刷新凭证"
    assert desk.client.login(name).code == 401
    assert desk.revoked(user_id) == [(1, True, True)]
    shown = desk.users("show", f"id:{user_id}", "--json").json
    assert (shown["username"], shown["state"]) == (f"~{user_id}", "erased")
    assert name not in desk.users("list", "--json").out
    assert desk.register(name) > user_id
    assert "erased already" in desk.users("erase", f"id:{user_id}", "--yes").err


def test_a_deleted_user_can_only_be_erased(desk: Desk, name: str) -> None:
    user_id = desk.register(name)
    request = user_pb2.DeleteAccountRequest(user_id=user_id, password=PASSWORD)
    assert desk.client.users.DeleteAccount(request, timeout=5).code == 200
    for command in (["disable"], ["enable"], ["logout"], ["reset-password", "--yes"]):
        refused = desk.users(command[0], name, *command[1:])
        assert (refused.code, refused.err) == (1, f"error: the user {name} is deleted; only `erase` can be used then\n")
    assert desk.client.register(name).code == 409
    assert desk.users("erase", name, "--yes").code == 0
    assert desk.register(name) > user_id


def test_a_password_is_made_up_and_printed_once(desk: Desk, name: str) -> None:
    user_id = desk.register(name)
    session_id = desk.open(user_id)
    done = desk.users("reset-password", name, "--yes")
    password = done.out.removesuffix("\n")
    assert (done.code, len(password)) == (0, 16)
    assert password not in done.err
    assert [line["message"] for line in done.audit] == ["password_reset"]
    assert desk.client.login(name).code == 401
    assert desk.client.login(name, password).code == 200
    assert desk.refresh(session_id) == "密码已修改，请重新登录"
    assert len(desk.users("reset-password", name, "--yes", "--json").json["password"]) == 16


def test_a_password_comes_from_standard_input(desk: Desk, name: str) -> None:
    desk.register(name)
    done = desk.users("reset-password", name, "--stdin", "--yes", stdin=f"{NEW}\n".encode())
    assert (done.code, done.out) == (0, "")
    assert NEW not in done.err
    assert desk.client.login(name, NEW).code == 200


@pytest.mark.parametrize(
    ("stdin", "says"),
    [
        (b"", "there is no password on standard input; kubectl exec passes it on with -i"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\n", "the password on standard input is not UTF-8"),
        (b"1234567\n", "the new password is refused: it has fewer than 8 characters"),
        (
            b"woaini1314\n",
            "the new password is refused: it is among those that are guessed first; PASSWORD_CHECK=off takes it",
        ),
    ],
)
def test_bad_passwords_are_refused_with_a_sentence(desk: Desk, name: str, stdin: bytes, says: str) -> None:
    desk.register(name)
    refused = desk.users("reset-password", name, "--stdin", "--yes", stdin=stdin)
    assert (refused.code, refused.out, refused.err) == (1, "", f"error: {says}\n")
    assert desk.client.login(name).code == 200


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["show", "no_such_user"], 1, "error: there is no user no_such_user; `users list` shows those there are"),
        (["show", "id:999999999"], 1, "error: there is no user id:999999999;"),
        (["show", "id:99999999999999999999"], 1, "error: there is no user id:"),
        (["show", "~\x1b[2J"], 1, "error: there is no user ~\N{REPLACEMENT CHARACTER}[2J;"),
        (["erase", "no_such_user", "--yes"], 1, "error: there is no user"),
        (["show"], 2, "the following arguments are required: USER"),
        (["list", "--limit", "0"], 2, "must be 1 to 10000"),
        (["list", "--limit", "many"], 2, "argument --limit"),
        (["list", "--after", "99999999999999999999"], 2, "must be a number of 18 digits at most"),
        (["list", "--state", "gone"], 2, "invalid choice"),
        (["promote", "alice"], 2, "invalid choice"),
        ([], 2, "the following arguments are required: COMMAND"),
        (["reset-password", "alice", "s3cret-in-argv"], 2, "unrecognized arguments"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(desk: Desk, arguments: list[str], code: int, says: str) -> None:
    refused = desk.users(*arguments)
    assert (refused.code, refused.out) == (code, "")
    assert says in refused.err
    assert "Traceback" not in refused.err


def test_a_command_is_a_process_of_its_own(desk: Desk, name: str) -> None:
    user_id = desk.register(name)
    done = run(desk.folder, desk.env, "reset-password", name, "--stdin", "--yes", stdin=f"{NEW}\n".encode())
    assert (done.code, done.out) == (0, "")
    assert done.err == f"{name} (id {user_id}) has a new password, and is logged out everywhere\n"
    assert [(line["message"], line["user_id"], line["by"]) for line in done.audit] == [
        ("password_reset", user_id, "operator")
    ]
    assert desk.client.login(name, NEW).code == 200


def answer_on_terminal(desk: Desk, answer: bytes, *arguments: str) -> tuple[int, str]:
    """Run a command on a terminal of its own, and answer its question."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "user_svc", "users", *arguments]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "BCRYPT_COST": "10", **desk.env}
    with subprocess.Popen(command, cwd=desk.folder, env=env, stdin=theirs, stderr=subprocess.PIPE) as child:
        os.write(ours, answer)
        _, err = child.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    return child.returncode, err.decode()


def test_a_question_is_asked_on_a_terminal(desk: Desk, name: str) -> None:
    user_id = desk.register(name)
    code, err = answer_on_terminal(desk, b"\n", "erase", name)
    assert (code, err) == (
        1,
        f"erase {name} (id {user_id}), which cannot be undone? [y/N] error: nothing was changed\n",
    )
    assert desk.client.login(name).code == 200
    code, err = answer_on_terminal(desk, b"y\n", "erase", name)
    assert code == 0
    assert desk.client.login(name).code == 401


@pytest.mark.parametrize("command", ["erase", "reset-password"])
def test_answers_may_take_their_time(desk: Desk, name: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.register(name)
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + 60)
    done = desk.users(command, name, stdin=Terminal(b"y\n", lambda: monkeypatch.setattr(deadline, "time", later)))
    assert done.code == 0, done.err


@pytest.mark.parametrize("delivered", [True, False], ids=["committed", "not committed"])
def test_a_lost_commit_is_reported_as_unknown(database: Scratch, tmp_path: Path, *, delivered: bool) -> None:
    with (
        TcpProxy(database.server.port) as proxy,
        Process("user_svc", env={"DB_DSN": database.go_dsn}, cwd=tmp_path) as process,
        ready_client(process) as client,
    ):
        desk = Desk(client, tmp_path, {"DB_DSN": database.go_dsn_by(proxy.port)})
        desk.register("alice")
        terminal = Terminal(b"y\n", lambda: proxy.lose(COMMIT, delivered=delivered))
        lost = desk.users("reset-password", "alice", stdin=terminal)
        assert (lost.code, lost.out, lost.audit) == (1, "", [])
        assert lost.err.endswith(
            "error: DB_DSN: the connection was lost during the commit (CR_SERVER_LOST), so it is not known whether the "
            "change was made; run the command again\n"
        )
        assert client.login("alice").code == (401 if delivered else 200)
        again = desk.users("reset-password", "alice", "--yes")
        assert client.login("alice", again.out.strip()).code == 200


def test_a_password_is_printed_without_a_database(
    database: Scratch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        TcpProxy(database.server.port) as proxy,
        Process("user_svc", env={"DB_DSN": database.go_dsn}, cwd=tmp_path) as process,
        ready_client(process) as client,
    ):
        desk = Desk(client, tmp_path, {"DB_DSN": database.go_dsn_by(proxy.port)})
        user_id = desk.register("alice")

        def hang_at_the_next_read() -> None:
            proxy.hang_at(b"ORDER BY users.id", delivered=False)
            monkeypatch.setattr(operators, "_SECONDS", 3)

        printed = desk.users("reset-password", "alice", "--json", stdin=Terminal(b"y\n", hang_at_the_next_read)).json
        assert (printed.keys(), printed["id"]) == ({"id", "username", "password"}, user_id)
        assert client.login("alice", printed["password"]).code == 200


def test_a_database_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = run(tmp_path, {}, "list")
    assert (missing.code, missing.err) == (
        1,
        "error: there is no database .data/users.db: start the service once, or set DB_DSN or DATA_DIR\n",
    )
    assert not (tmp_path / ".data").exists()
    away = run(tmp_path, {"DB_DSN": "app:s3cret@tcp(127.0.0.1:1)/db"}, "list")
    assert away.code == 1
    assert "DB_DSN: the database cannot be used (CR_CONN_HOST_ERROR)" in away.err
    assert "s3cret" not in away.err
    assert run(tmp_path, {"DB_DSN": "nonsense"}, "list").code == 2


def test_commands_need_no_settings_of_a_server(tmp_path: Path) -> None:
    (tmp_path / ".data").mkdir()
    database = Database(dsn.sqlite(tmp_path / ".data/users.db"))
    database.ping()
    assert "python -m user_svc migrate" in run(tmp_path, {}, "list").err
    schema.upgrade(database)
    execute(database, "SELECT 1")
    database.close()
    listed = run(tmp_path, {"ETCD_ADDRESS": "127.0.0.1:2379"}, "list")
    assert (listed.code, listed.out.split()) == (0, ["ID", "USERNAME", "STATE", "CREATED_AT", "SESSIONS"])
