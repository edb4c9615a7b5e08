"""Migrations beside others who use the tables, the lock, or migrate as well."""

import fcntl
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pymysql
import pytest
import sqlalchemy
from alembic import command
from alembic.config import Config

from tests.support.mariadb import PASSWORD, USER
from tests.support.mariadb import Database as Scratch
from tests.support.process import Process
from tests.support.wait import stays, wait_until
from tests.user_svc.client import ready_client
from user_svc import adoption, dsn, schema
from user_svc.adoption import Lack
from user_svc.database import Database

TO_ADOPT = (
    "CREATE TABLE users (id int AUTO_INCREMENT PRIMARY KEY, username varchar(64) COLLATE utf8mb4_bin, password text) "
    "CHARSET utf8mb4"
)
LOCK = "CONCAT('user_svc migrate ', LEFT(SHA2(DATABASE(), 256), 32))"
LONGEST_WAIT = 3
"""Seconds that a reader may have to wait for its table."""


def session(database: Scratch, **options: Any) -> "closing[pymysql.Connection[Any]]":
    """Open a session of some other program."""
    account: dict[str, Any] = {"user": USER, "password": PASSWORD, "database": database.name, "autocommit": True}
    return closing(pymysql.connect(host="127.0.0.1", port=database.server.port, **account, **options))


def readyz(process: Process) -> str:
    return httpx.get(f"http://127.0.0.1:{process.admin_port}/readyz", trust_env=False).text


def waits(process: Process) -> list[str]:
    """The log lines that say what a migration waits for."""
    return [line["cause"] for line in process.records if "waiting" in f"{line['message']} {line.get('cause')}"]


def test_readers_do_not_wait_behind_a_migration(database: Scratch, tmp_path: Path) -> None:
    database.execute(TO_ADOPT)
    over = threading.Event()
    with (
        session(database) as holder,
        session(database, init_command=f"SET lock_wait_timeout = {LONGEST_WAIT}") as reader,
        ThreadPoolExecutor(1) as thread,
        holder.cursor() as held,
    ):
        held.execute("START TRANSACTION")
        held.execute("SELECT * FROM users")

        def read() -> int:
            reads = 0
            with reader.cursor() as cursor:
                while not over.is_set():
                    cursor.execute("SELECT COUNT(*) FROM users")
                    reads += 1
            return reads

        reads = thread.submit(read)
        with Process("user_svc", "migrate", env={"DB_DSN": database.go_dsn}, cwd=tmp_path) as process:
            try:
                wait_until(lambda: waits(process) or not process.running or reads.done(), 20)
                assert waits(process) == ["another session uses the table that a migration is to change"]
                assert process.running
                held.execute("COMMIT")
                assert process.wait() == 0
            finally:
                over.set()
        assert reads.result() > 0
    assert "utf8mb4_general_ci" in str(database.execute("SHOW FULL COLUMNS FROM users WHERE Field = 'username'"))


def test_waiting_for_a_table_is_reported(database: Scratch, tmp_path: Path) -> None:
    database.execute(TO_ADOPT)
    with session(database) as holder, holder.cursor() as held:
        held.execute("START TRANSACTION")
        held.execute("SELECT * FROM users")
        with Process("user_svc", env={"DB_DSN": database.go_dsn}, cwd=tmp_path) as process:
            wait_until(lambda: "another session uses the table" in readyz(process))
            line = process.wait_for("DB_DSN")
            assert "another session uses the table" in line["cause"]
            held.execute("COMMIT")
            with ready_client(process) as client:
                assert client.register("alice").code == 200


def test_a_current_schema_takes_no_lock(database: Scratch, tmp_path: Path) -> None:
    opened = Database(dsn.parse(database.go_dsn))
    schema.upgrade(opened)
    opened.close()
    with session(database) as other, other.cursor() as cursor:
        cursor.execute(f"SELECT GET_LOCK({LOCK}, 0)")
        assert cursor.fetchall() == ((1,),)
        with Process("user_svc", env={"DB_DSN": database.go_dsn}, cwd=tmp_path) as process, ready_client(process):
            assert not waits(process)
        with Process("user_svc", "migrate", env={"DB_DSN": database.go_dsn}, cwd=tmp_path) as process:
            assert process.wait() == 0


def test_waiting_for_the_lock_is_reported(database: Scratch, tmp_path: Path) -> None:
    with session(database) as other, other.cursor() as cursor:
        cursor.execute(f"SELECT GET_LOCK({LOCK}, 0)")
        with Process("user_svc", env={"DB_DSN": database.go_dsn}, cwd=tmp_path) as process:
            wait_until(lambda: "another process is migrating the schema" in readyz(process))
            wait_until(lambda: waits(process))
            stays(lambda: len(waits(process)) == 1, 2.5)
            cursor.execute(f"SELECT RELEASE_LOCK({LOCK})")
            with ready_client(process):
                assert len(waits(process)) == 1


def test_locked_sqlite_file_is_reported_and_retried(tmp_path: Path) -> None:
    (tmp_path / ".data").mkdir()
    with (tmp_path / ".data" / "users.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with Process("user_svc", env={}, cwd=tmp_path) as process:
            wait_until(lambda: "another process is migrating the schema" in readyz(process))
            fcntl.flock(lock, fcntl.LOCK_UN)
            with ready_client(process):
                assert len(waits(process)) == 1


@pytest.mark.parametrize("before", [[], [TO_ADOPT]], ids=["made", "adopted"])
def test_migrations_at_once_need_no_lock(database: Scratch, tmp_path: Path, before: list[str]) -> None:
    for _ in range(3):
        database.execute("DROP TABLE IF EXISTS users, sessions, revocations, login_failures, user_svc_schema", *before)
        with Process("tests.user_svc.no_lock", database.go_dsn, "10", cwd=tmp_path) as processes:
            assert processes.wait(60) == 0, processes.output
        assert database.execute("SELECT * FROM user_svc_schema") == [{"version_num": "0003"}]
        assert len(database.execute("SHOW INDEX FROM users")) == 2
        assert len(database.execute("DESCRIBE users")) == 9


def test_a_step_that_another_process_took_is_done(database: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Database(dsn.parse(database.go_dsn))
    schema.upgrade(opened)
    made = database.execute("SHOW CREATE TABLE users")
    database.execute("DELETE FROM user_svc_schema")
    monkeypatch.setattr(adoption, "examine", lambda _: Lack(None, has_index=False, columns=("created_at",)))
    schema.upgrade(opened)
    assert database.execute("SHOW CREATE TABLE users") == made
    opened.close()


def test_late_record_of_an_earlier_step_is_dropped(database: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a lock, another process may record the first step after others have taken the second."""
    opened = Database(dsn.parse(database.go_dsn))
    schema.upgrade(opened)
    database.execute("UPDATE user_svc_schema SET version_num = '0002'")
    upgrade = command.upgrade

    def upgrade_late(config: Config, revision: str) -> None:
        monkeypatch.undo()
        database.execute("INSERT INTO user_svc_schema VALUES ('0001')")
        upgrade(config, revision)

    monkeypatch.setattr(command, "upgrade", upgrade_late)
    schema.upgrade(opened)
    assert database.execute("SELECT * FROM user_svc_schema") == [{"version_num": "0003"}]
    opened.close()


def test_failed_steps_are_not_recorded_as_done(database: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Database(dsn.parse(database.go_dsn))
    schema.upgrade(opened)
    database.execute("DELETE FROM user_svc_schema")
    monkeypatch.setattr(adoption, "examine", lambda _: Lack("no", has_index=True, columns=()))
    with pytest.raises(sqlalchemy.exc.DBAPIError):
        schema.upgrade(opened)
    assert database.execute("SELECT * FROM user_svc_schema") == []
    opened.close()


GO_INSERT = (
    "INSERT INTO `users` (`created_at`,`updated_at`,`deleted_at`,`username`,`password`) "
    "VALUES (NOW(3),NOW(3),NULL,%s,'hash')"
)
"""As the Go system and older versions of this service write."""


def back_to_0001(database: Scratch) -> None:
    """Leave what the first revision made."""
    database.execute(
        "DROP TABLE sessions, revocations, login_failures",
        "ALTER TABLE users DROP COLUMN disabled_at, DROP COLUMN generation, DROP COLUMN generation_at",
        "UPDATE user_svc_schema SET version_num = '0001'",
    )


def test_others_go_on_writing_while_sessions_are_added(database: Scratch) -> None:
    opened = Database(dsn.parse(database.go_dsn))
    schema.upgrade(opened)
    over = threading.Event()
    with session(database) as writer, ThreadPoolExecutor(1) as thread, writer.cursor() as cursor:

        def write() -> int:
            written = 0
            while not over.is_set():
                cursor.execute(GO_INSERT, [f"user_{written}"])
                written += 1
            return written

        writes = thread.submit(write)
        try:
            for _ in range(3):
                back_to_0001(database)
                schema.upgrade(opened)
        finally:
            over.set()
        written = writes.result()
        cursor.execute(GO_INSERT, ["later"])
    rows = database.execute("SELECT COUNT(*) AS held, SUM(generation) AS generations FROM users")
    assert rows == [{"held": written + 1, "generations": 0}]
    opened.close()


@pytest.mark.parametrize(
    "done", ["sessions", "revocations", "disabled_at", "generation", "generation_at", "login_failures"]
)
def test_later_revisions_cut_short_are_taken_up_again(database: Scratch, done: str) -> None:
    opened = Database(dsn.parse(database.go_dsn))
    schema.upgrade(opened)

    def definitions() -> list[object]:
        return [database.execute(f"SHOW CREATE TABLE {each}") for each in ("sessions", "revocations", "login_failures")]

    made = definitions()
    back_to_0001(database)
    schema.upgrade(opened)
    assert definitions() == made
    database.execute(
        f"ALTER TABLE users DROP COLUMN {done}"
        if done in {"disabled_at", "generation", "generation_at"}
        else f"DROP TABLE {done}",
        "UPDATE user_svc_schema SET version_num = '0001'",
    )
    schema.upgrade(opened)
    assert definitions() == made
    assert len(database.execute("DESCRIBE users")) == 9
    opened.close()


@pytest.mark.parametrize(
    ("before", "says", "reached"),
    [
        (
            "CREATE TABLE sessions (id varchar(256) PRIMARY KEY, data longtext)",
            "the table sessions is another program's",
            "0001",
        ),
        (
            "CREATE TABLE login_failures (ip varchar(45), at datetime)",
            "the table login_failures is another program's",
            "0002",
        ),
        (
            TO_ADOPT.replace("password", "generation varchar(9), password"),
            "a column generation that is not an INT",
            "0001",
        ),
        (
            TO_ADOPT.replace("password", "generation tinyint NOT NULL DEFAULT 0, password"),
            "a column generation that is not an INT UNSIGNED NOT NULL of 0 by default; rename it",
            "0001",
        ),
        (
            TO_ADOPT.replace("password", "generation int unsigned DEFAULT 0, password"),
            "a column generation that is not an INT UNSIGNED NOT NULL of 0 by default; rename it",
            "0001",
        ),
        (
            TO_ADOPT.replace("password", "disabled_at int, password"),
            "a column disabled_at that is not a DATETIME",
            "0001",
        ),
    ],
)
def test_conflicts_with_additions_are_named(database: Scratch, before: str, says: str, reached: str) -> None:
    database.execute(before)
    opened = Database(dsn.parse(database.go_dsn))
    with pytest.raises(schema.UnusableSchemaError, match=says):
        schema.upgrade(opened)
    assert database.execute("SELECT * FROM user_svc_schema") == [{"version_num": reached}]
    opened.close()
