"""Schemas that are made, adopted, shared, ahead, or unusable."""

import re
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.support.etcd import free_port
from tests.support.mariadb import Database as Scratch
from tests.support.process import Process
from tests.support.wait import stays
from tests.user_svc.client import PASSWORD, SERVICE, Client, ready_client
from user_svc import dsn, schema
from user_svc.database import Database
from user_svc.store import NameTakenError, Store

# As GORM's AutoMigrate makes it of a model with gorm.Model, a unique index on the name and a password of any length.
GORM = """
CREATE TABLE `users` (
  `id` bigint unsigned AUTO_INCREMENT,
  `created_at` datetime(3) NULL,
  `updated_at` datetime(3) NULL,
  `deleted_at` datetime(3) NULL,
  `username` varchar(64) NOT NULL,
  `password` longtext NOT NULL,
  PRIMARY KEY (`id`),
  INDEX `idx_users_deleted_at` (`deleted_at`),
  UNIQUE INDEX `idx_users_username` (`username`)
) DEFAULT CHARSET=utf8mb4
"""
# What golang.org/x/crypto/bcrypt made of PASSWORD at its default cost.
GO_HASH = "$2a$10$idg2Lkb.Ke7qo13DTex9Fui8y9zdGe3TNrkyCOt87knvRrVzqGKTa"
GO_INSERT = (
    "INSERT INTO `users` (`created_at`,`updated_at`,`deleted_at`,`username`,`password`) "
    "VALUES (NOW(3),NOW(3),NULL,'{}','" + GO_HASH + "')"
)


@pytest.fixture
def opened(database: Scratch) -> Database:
    return Database(dsn.parse(database.url))


def columns(database: Scratch) -> list[str]:
    return [row["Field"] for row in database.execute("DESCRIBE users")]


def definition(database: Scratch) -> list[str]:
    """The lines of the table's definition."""
    (row,) = database.execute("SHOW CREATE TABLE users")
    return re.sub(r" AUTO_INCREMENT=\d+", "", str(row["Create Table"])).splitlines()


def test_a_table_of_the_go_system_serves_both(database: Scratch, tmp_path: Path) -> None:
    database.execute(GORM, GO_INSERT.format("GoUser"), GO_INSERT.format("Gone"))
    database.execute("UPDATE users SET deleted_at = NOW(3) WHERE username = 'Gone'")
    before = definition(database)
    with (
        Process("user_svc", env={"DB_DSN": database.go_dsn}, cwd=tmp_path) as process,
        ready_client(process) as client,
    ):
        added = definition(database)
        assert [line for line in added if line in before] == before
        assert [line.split()[0] for line in added if line not in before] == [
            "`disabled_at`",
            "`generation`",
            "`generation_at`",
        ]
        assert client.login("gouser").user_id == 1
        assert client.login("gouser").username == "GoUser"
        assert client.register("GOUSER").code == 409
        assert client.login("gone").code == 401
        assert client.register("gone").code == 409
        assert client.register("ours").code == 200
        database.execute(GO_INSERT.format("later"))
        assert client.login("later").code == 200
        (ours,) = database.execute("SELECT * FROM users WHERE username = 'ours'")
        assert ours["created_at"] is not None
        assert ours["updated_at"] is not None
        assert ours["deleted_at"] is None


def test_a_table_without_moments_is_given_them(database: Scratch, opened: Database) -> None:
    database.execute(
        "CREATE TABLE users (id int NOT NULL AUTO_INCREMENT PRIMARY KEY, username varchar(191) UNIQUE, "
        "password varchar(60), nickname varchar(9) NOT NULL DEFAULT '', email text) CHARSET latin1"
    )
    schema.upgrade(opened)
    assert {"created_at", "updated_at", "deleted_at"} < set(columns(database))
    assert Store(opened).add("alice", "x" * 60) == 1
    found = Store(opened).find("ALICE")
    assert found is not None
    assert found.password_hash == "x" * 60
    opened.close()


def test_collation_equal_names_are_different_users(database: Scratch, opened: Database) -> None:
    database.execute(GORM, GO_INSERT.format("Ángel"))
    schema.upgrade(opened)
    store = Store(opened)
    assert store.find("angel") is None
    with pytest.raises(NameTakenError):
        store.add("angel", "another hash")
    opened.close()


@pytest.mark.parametrize("column", ["varchar(32) COLLATE utf8mb4_bin NOT NULL UNIQUE", "varchar(32) NOT NULL"])
def test_names_are_made_unique_whatever_the_case(database: Scratch, opened: Database, column: str) -> None:
    database.execute(
        f"CREATE TABLE users (id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, username {column}, "
        "password varchar(255) NOT NULL) CHARSET utf8mb4",
        "INSERT INTO users (username, password) VALUES ('Alice', 'x'), ('bob', 'x')",
    )
    schema.upgrade(opened)
    store = Store(opened)
    assert store.is_taken("ALICE")
    with pytest.raises(NameTakenError):
        store.add("BOB", "another hash")
    assert "NOT NULL" in str(database.execute("SHOW CREATE TABLE users")).partition("`username` varchar(32)")[2][:80]
    opened.close()


@pytest.mark.parametrize(
    ("definition", "says"),
    [
        ("id int AUTO_INCREMENT PRIMARY KEY, name text", "no column password and no column username"),
        ("id int PRIMARY KEY, username varchar(20) UNIQUE, password text", "id is not AUTO_INCREMENT"),
        ("id int AUTO_INCREMENT PRIMARY KEY, username varchar(19) UNIQUE, password text", "username does not hold 20"),
        ("id int AUTO_INCREMENT PRIMARY KEY, username varchar(20) UNIQUE, password char(59)", "password does not hold"),
        ("id int AUTO_INCREMENT PRIMARY KEY, username varchar(20) UNIQUE, password int", "password does not hold"),
        (
            "id int AUTO_INCREMENT PRIMARY KEY, username varchar(20) UNIQUE, password text, email text NOT NULL",
            "email has no default",
        ),
        (
            "id int AUTO_INCREMENT PRIMARY KEY, username varchar(20) UNIQUE, password text, deleted_at int DEFAULT 0",
            "deleted_at is not a DATETIME",
        ),
        ("id int AUTO_INCREMENT PRIMARY KEY, username varbinary(20) UNIQUE, password text", "username"),
    ],
)
def test_unusable_tables_are_left_alone(database: Scratch, opened: Database, definition: str, says: str) -> None:
    database.execute(f"CREATE TABLE users ({definition}) CHARSET utf8mb4")
    before = database.execute("SHOW CREATE TABLE users")
    with pytest.raises(schema.UnusableSchemaError, match=says):
        schema.upgrade(opened)
    assert database.execute("SHOW CREATE TABLE users") == before
    opened.close()


def test_clashing_names_need_manual_resolution(database: Scratch, tmp_path: Path) -> None:
    database.execute(
        GORM.replace("`username` varchar(64)", "`username` varchar(64) COLLATE utf8mb4_bin"),
        GO_INSERT.format("alice"),
        GO_INSERT.format("Alice"),
    )
    with Process("user_svc", env={"DB_DSN": database.go_dsn}, cwd=tmp_path) as process, Client(process) as client:
        line = process.wait_for("DB_DSN")
        assert "1 names are there more than once" in line["cause"]
        assert "lice" not in line["cause"]
        assert not client.serves(SERVICE)
        readyz = httpx.get(f"http://127.0.0.1:{process.admin_port}/readyz", trust_env=False)
        assert (readyz.status_code, line["cause"] in readyz.text) == (503, True)
        database.execute("UPDATE users SET username = 'alice2' WHERE username = 'Alice'")
        client.wait_until_serving(SERVICE)
        assert client.register("ALICE").code == 409
        assert len([each for each in process.records if each["level"] == "WARNING"]) == 1


def test_ten_at_once_make_one_schema(database: Scratch, tmp_path: Path) -> None:
    env = {"DB_DSN": database.go_dsn}
    with ExitStack() as stack:
        processes = [stack.enter_context(Process("user_svc", env=env, cwd=tmp_path)) for _ in range(10)]
        for process in processes:
            process.wait_for("the database answers", timeout=60)
        lines = [record for process in processes for record in process.records]
        assert [line for line in lines if line["level"] not in {"INFO", "DEBUG"}] == []
        assert len([line for line in lines if line["message"] == "schema upgraded"]) == 1
    assert len(database.execute("SHOW TABLES")) == 5
    assert database.execute("SELECT * FROM user_svc_schema") == [{"version_num": "0003"}]


def test_interrupted_migrations_are_resumed(database: Scratch, opened: Database) -> None:
    schema.upgrade(opened)
    made = database.execute("SHOW CREATE TABLE users")
    database.execute("DELETE FROM user_svc_schema")
    schema.upgrade(opened)
    assert database.execute("SHOW CREATE TABLE users") == made
    assert database.execute("SELECT * FROM user_svc_schema") == [{"version_num": "0003"}]
    opened.close()


def test_an_older_service_works_on_a_newer_schema(database: Scratch, opened: Database, tmp_path: Path) -> None:
    schema.upgrade(opened)
    opened.close()
    database.execute(
        "UPDATE user_svc_schema SET version_num = '9999'",
        "ALTER TABLE users ADD COLUMN email varchar(99) NOT NULL DEFAULT ''",
    )
    with (
        Process("user_svc", env={"DB_DSN": database.url}, cwd=tmp_path) as process,
        ready_client(process) as client,
    ):
        assert process.wait_for("newer")["revision"] == "9999"
        assert client.register("alice").code == 200
        assert client.login("alice").code == 200
    assert database.execute("SELECT * FROM user_svc_schema") == [{"version_num": "9999"}]


def test_migrate_runs_alone(database: Scratch, tmp_path: Path) -> None:
    with Process("user_svc", "migrate", env={"DB_DSN": database.go_dsn}, cwd=tmp_path) as process:
        assert process.wait() == 0
        assert process.wait_for("schema upgraded")["revision"] == "0003"
    assert "username" in columns(database)


def test_migrate_says_what_keeps_it(tmp_path: Path) -> None:
    env = {"DB_DSN": f"user:{PASSWORD}@tcp(127.0.0.1:{free_port()})/db"}
    with Process("user_svc", "migrate", env=env, cwd=tmp_path) as process:
        assert process.wait() == 1
        (line,) = process.records
        assert line["message"].startswith("DB_DSN")
        assert "CR_CONN_HOST_ERROR" in line["cause"]
        assert PASSWORD not in process.output


def test_a_database_that_was_emptied_is_filled_again(database: Scratch, tmp_path: Path) -> None:
    with (
        Process("user_svc", env={"DB_DSN": database.url}, cwd=tmp_path) as process,
        ready_client(process) as client,
    ):
        assert client.register("alice").code == 200
        database.server.execute(f"DROP DATABASE {database.name}")
        client.wait_until_not_serving(SERVICE)
        database.server.execute(f"CREATE DATABASE {database.name}")
        client.wait_until_serving(SERVICE)
        assert client.register("alice").code == 200
        stays(lambda: client.serves(SERVICE), 1.5)
