"""Tables `users` of other programs: which are adopted, and what is said of the others."""

from collections.abc import Iterator

import pytest
from sqlalchemy.exc import IntegrityError

from tests.support.mariadb import Database as Scratch
from user_svc import dsn, schema
from user_svc.database import Database
from user_svc.store import NameTakenError, Store

ID = "id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY"
NAME = "username varchar(64) NOT NULL UNIQUE"
PASSWORD = "password varchar(255) NOT NULL"
COMMON = f"{ID}, {NAME}, {PASSWORD}"


@pytest.fixture
def opened(database: Scratch) -> Iterator[Database]:
    opened = Database(dsn.parse(database.url))
    yield opened
    opened.close()


def make(database: Scratch, definition: str, options: str = "") -> None:
    database.execute(
        "CREATE TABLE teams (id int PRIMARY KEY, name varchar(64) UNIQUE) CHARSET utf8mb4",
        f"CREATE TABLE users ({definition}) CHARSET utf8mb4 {options}",
    )


@pytest.mark.parametrize(
    ("definition", "says"),
    [
        # unique keys beside the username's
        (f"{COMMON}, email varchar(100) NOT NULL DEFAULT '' UNIQUE", "email has the unique key email"),
        (f"{COMMON}, a int DEFAULT 1, b int, UNIQUE ab (a), KEY (b)", "a has the unique key ab"),
        (f"{COMMON}, created_at datetime(3), UNIQUE at (created_at)", "created_at has the unique key at"),
        (f"{COMMON}, UNIQUE p (password(20))", "password has the unique key p"),
        (f"{COMMON}, a int AS (deleted_at IS NULL) UNIQUE, deleted_at datetime", "a has the unique key a"),
        (f"{ID}, username varchar(64), {PASSWORD}, UNIQUE n (username(10))", "username has the unique key n"),
        (f"{COMMON}, a int NOT NULL DEFAULT 0, UNIQUE na (username(10), a)", "username, a has the unique key na"),
        # collations
        (f"{ID}, username varchar(64) COLLATE utf8mb4_turkish_ci UNIQUE, {PASSWORD}", "tells I and i apart"),
        (f"{ID}, username varchar(64) COLLATE utf8mb4_danish_ci UNIQUE, {PASSWORD}", "tells aA and aa apart"),
        (f"{ID}, username varchar(64) COLLATE utf8mb4_czech_ci UNIQUE, {PASSWORD}", "tells cH and ch apart"),
        (f"{ID}, username varchar(64) COLLATE utf8mb4_roman_ci UNIQUE, {PASSWORD}", "takes I and J for one"),
        (f"{ID}, username varchar(64) CHARSET latin7 COLLATE latin7_general_ci UNIQUE, {PASSWORD}", "T and t apart"),
        (f"{ID}, username varchar(64) CHARSET latin7 COLLATE latin7_bin UNIQUE, {PASSWORD}", "latin7_bin, which tells"),
        (f"{ID}, username varchar(64) CHARSET gbk COLLATE gbk_bin UNIQUE, {PASSWORD}", "gbk_bin, which tells cases"),
        # values that would not be stored
        (f"{COMMON}, email varchar(9) NOT NULL", "email has no default"),
        (f"{COMMON}, created_at bigint", "created_at is not a DATETIME but a bigint"),
        (f"{COMMON}, deleted_at datetime DEFAULT CURRENT_TIMESTAMP", "deleted_at is not NULL by default"),
        (f"{COMMON}, deleted_at datetime NOT NULL DEFAULT '1970-01-01'", "deleted_at is not NULL by default"),
        (f"{ID}, u int, username varchar(64) AS (u) STORED UNIQUE, {PASSWORD}", "username is generated"),
        (f"{COMMON}, short varchar(3) AS (username)", "short is generated in a way"),
        (f"{COMMON}, CONSTRAINT long_names CHECK (length(username) > 5)", "username has the check long_names"),
        (f"{COMMON}, age int NOT NULL DEFAULT 0 CHECK (age > 17)", "age has the check age, which refuses the defaults"),
        (f"{COMMON}, team int NOT NULL DEFAULT 0, CONSTRAINT t FOREIGN KEY (team) REFERENCES teams (id)", "team has"),
        (f"{ID}, {NAME} REFERENCES teams (name), {PASSWORD}", "username has the foreign key"),
        # ids
        (COMMON.replace("bigint unsigned", "mediumint"), "id is a mediumint"),
        (COMMON.replace("bigint unsigned", "tinyint unsigned"), "id is a tinyint"),
        (COMMON.replace("bigint unsigned", "double"), "id is a double"),
        (COMMON.replace("PRIMARY KEY", ", KEY (id)", 1), "id alone is not unique"),
        (COMMON.replace("PRIMARY KEY", ", team int DEFAULT 1, PRIMARY KEY (id, team)", 1), "id alone is not unique"),
    ],
)
def test_a_table_that_would_break_promises_is_refused(
    database: Scratch, opened: Database, definition: str, says: str
) -> None:
    make(database, definition)
    before = database.execute("SHOW CREATE TABLE users")
    with pytest.raises(schema.UnusableSchemaError) as refused:
        schema.upgrade(opened)
    assert says in str(refused.value)
    assert str(refused.value).count(";") == 1, "one thing is wrong, and what to do is said"
    assert database.execute("SHOW CREATE TABLE users") == before


@pytest.mark.parametrize(
    ("statements", "says"),
    [
        ([f"CREATE TABLE users ({COMMON}) ENGINE MyISAM CHARSET utf8mb4"], "its engine MyISAM has no transactions"),
        ([f"CREATE TABLE people ({COMMON})", "CREATE VIEW users AS SELECT * FROM people"], "it is a VIEW"),
        (
            [f"CREATE TABLE users ({COMMON.replace(' UNIQUE', '')}) PARTITION BY HASH (id)"],
            "a partitioned table can get none",
        ),
    ],
)
def test_a_table_of_another_kind_is_refused(
    database: Scratch, opened: Database, statements: list[str], says: str
) -> None:
    database.execute(*statements)
    with pytest.raises(schema.UnusableSchemaError, match=says):
        schema.upgrade(opened)


@pytest.mark.parametrize(
    "definition",
    [
        f"{COMMON}, email varchar(100) UNIQUE",
        f"{COMMON}, public_id char(36) NOT NULL DEFAULT uuid() UNIQUE, CHECK (1 = 1)",
        f"{ID}, username text UNIQUE, password longtext NOT NULL",
        f"{COMMON}, email varchar(100) DEFAULT '' CHECK (email <> 'x'), prefs json, note varchar(9) DEFAULT ':x''\\\\'",
        f"{COMMON}, deleted_at datetime, UNIQUE soft (username, deleted_at), UNIQUE gone (password, deleted_at)",
        f"{COMMON}, status int NOT NULL DEFAULT 1 CHECK (status IN (0, 1)), age int CHECK (age > 17)",
        f"{COMMON}, profile json, email varchar(99) AS (json_value(profile, '$.email')) UNIQUE",
        f"{COMMON}, team int, CONSTRAINT t FOREIGN KEY (team) REFERENCES teams (id)",
        f"{COMMON}, created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP, updated_at timestamp NULL",
        f"{COMMON}, created_at datetime NOT NULL, UNIQUE every (id, created_at)",
        f"{COMMON}, disabled_at timestamp NULL, generation bigint NOT NULL DEFAULT 0",
        f"{ID.replace('bigint unsigned', 'int')}, username varchar(64) COLLATE utf8mb4_swedish_ci UNIQUE, {PASSWORD}",
        f"{ID}, username varchar(64) CHARSET latin1 COLLATE latin1_swedish_ci UNIQUE, {PASSWORD}",
        f"{ID}, username varchar(64) COLLATE utf8mb4_uca1400_as_ci, {PASSWORD}",
        f"{ID}, username varchar(64) COLLATE utf8mb4_bin DEFAULT 'it''s: \\\\' COMMENT 'a ''name'': \\\\', {PASSWORD}",
    ],
)
def test_a_table_that_keeps_promises_is_adopted(database: Scratch, opened: Database, definition: str) -> None:
    make(database, definition)
    before = {row["Field"]: row for row in database.execute("SHOW FULL COLUMNS FROM users")}
    schema.upgrade(opened)
    store = Store(opened)
    assert store.add("Alice", "x" * 60) == 1
    assert store.add("alice_11", "y" * 60) == 2
    with pytest.raises(NameTakenError):
        store.add("ALICE", "z" * 60)
    for row in database.execute("SHOW FULL COLUMNS FROM users"):
        if row["Field"] in before:
            changed = {"Collation", "Key"} if row["Field"] == "username" else set()
            assert {**row, **dict.fromkeys(changed)} == {**before[row["Field"]], **dict.fromkeys(changed)}


def test_triggers_are_named(database: Scratch, opened: Database, caplog: pytest.LogCaptureFixture) -> None:
    make(database, COMMON)
    database.execute(
        "CREATE TRIGGER shout BEFORE INSERT ON users FOR EACH ROW SET NEW.username = UPPER(NEW.username)",
        "CREATE TRIGGER watch AFTER UPDATE ON users FOR EACH ROW SET @changed = 1",
        "CREATE TRIGGER part BEFORE DELETE ON users FOR EACH ROW SET @left = 1",
    )
    schema.upgrade(opened)
    (line,) = [record for record in caplog.records if "triggers" in record.message]
    assert line.levelname == "WARNING"
    assert vars(line)["triggers"] == "shout, watch"


def test_everything_wrong_is_said_at_once(database: Scratch, opened: Database) -> None:
    make(
        database,
        f"{ID}, username varchar(64) COLLATE utf8mb4_turkish_ci UNIQUE, password char(9), email varchar(9) NOT NULL",
    )
    with pytest.raises(schema.UnusableSchemaError) as refused:
        schema.upgrade(opened)
    for column in ("username has the collation", "password does not hold", "email has no default"):
        assert column in str(refused.value)


def test_only_the_name_makes_a_name_taken(
    database: Scratch, opened: Database, caplog: pytest.LogCaptureFixture
) -> None:
    make(database, COMMON)
    schema.upgrade(opened)
    store = Store(opened)
    database.execute("ALTER TABLE users ADD COLUMN email varchar(100) NOT NULL DEFAULT 's3cret' UNIQUE")
    store.add("alice", "x" * 60)
    with pytest.raises(IntegrityError):
        store.add("bob", "x" * 60)
    with pytest.raises(NameTakenError):
        store.add("ALICE", "y" * 60)
    (line,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert vars(line)["cause"] == "ER_DUP_ENTRY email"
    assert "s3cret" not in caplog.text
