"""Which forms DB_DSN may have and what they mean."""

import ssl
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from tests.support.mariadb import Database as Scratch
from user_svc import schema
from user_svc.database import Database
from user_svc.dsn import TIMEOUT, InvalidDSNError, Source, parse

CANARY = "c4n4ry"

SAME = {
    "user": "user",
    "password": b"pass",
    "database": "db",
    "host": "10.0.0.1",
    "port": 3307,
    "charset": "utf8mb4",
    "connect_timeout": TIMEOUT,
    "read_timeout": TIMEOUT,
    "write_timeout": TIMEOUT,
    "ssl_disabled": True,
}


@pytest.mark.parametrize(
    "text",
    [
        "user:pass@tcp(10.0.0.1:3307)/db?charset=utf8mb4&parseTime=True&loc=Local",
        "user:pass@tcp(10.0.0.1:3307)/db",
        "user:pass@tcp(10.0.0.1:3307)/db?charset=utf8mb4,utf8&loc=Asia%2FShanghai&parseTime=1",
        "mysql://user:pass@10.0.0.1:3307/db",
        "mysql+pymysql://user:pass@10.0.0.1:3307/db?charset=utf8mb4",
        "mariadb://user:pass@10.0.0.1:3307/db",
        "mariadb+pymysql://user:pass@10.0.0.1:3307/db?timeout=1m30s",
        # what is about Go's side, or holds here anyway
        *(
            f"user:pass@tcp(10.0.0.1:3307)/db?{parameter}"
            for parameter in (
                "multiStatements=true&interpolateParams=true&rejectReadOnly=true&checkConnLiveness=false",
                "allowNativePasswords=true&allowOldPasswords=true&allowCleartextPasswords=1&allowAllFiles=True",
                "clientFoundRows=true&columnsWithAlias=false&tinyInt1IsBool=false&compress=true&timeTruncate=1ms",
                "maxAllowedPacket=0&connectionAttributes=program_name%3Aold%2Cteam%3Aa&allowFallbackToPlaintext=false",
                "time_zone=%27%2B08%3A00%27",
                "time_zone=%27Asia%2FShanghai%27",
                "time_zone=SYSTEM",
                "parseTime&&multiStatements",
            )
        ),
        "mysql://user:pass@10.0.0.1:3307/db?multiStatements=true&time_zone='%2B08:00'",
    ],
)
def test_every_form_means_the_same(text: str) -> None:
    assert parse(text) == Source("10.0.0.1:3307/db", None, SAME)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("u:p@(h)/db", {"host": "h", "port": 3306}),
        ("u:p@tcp(h)/db", {"host": "h", "port": 3306}),
        ("u:p@tcp/db", {"host": "127.0.0.1", "port": 3306}),
        ("u:p@/db", {"host": "127.0.0.1", "port": 3306}),
        ("u:p@tcp([::1]:3307)/db", {"host": "::1", "port": 3307}),
        ("u:p@tcp([::1])/db", {"host": "::1", "port": 3306}),
        ("u:p@unix(/run/mysqld/mysqld.sock)/db", {"unix_socket": "/run/mysqld/mysqld.sock"}),
        ("u@tcp(h)/db", {"user": "u", "password": b""}),
        ("u:a/b:c@d(e)?f@tcp(h)/db", {"user": "u", "password": b"a/b:c@d(e)?f", "host": "h", "database": "db"}),
        ("u:p%2Fq+r@tcp(h)/d%2Fb", {"password": b"p%2Fq+r", "database": "d/b"}),
        ("u:密码@tcp(h)/db", {"password": "密码".encode()}),
        ("mysql://u:p%2Fq+r@h/db", {"password": b"p/q+r"}),
        (
            "u:p@tcp(h)/db?timeout=500ms&readTimeout=1.5s&writeTimeout=10s",
            {"connect_timeout": 0.5, "read_timeout": 1.5},
        ),
        ("u:p@tcp(h)/db?writeTimeout=10s&readTimeout=0", {"write_timeout": TIMEOUT, "read_timeout": TIMEOUT}),
        ("u:p@tcp(h)/db?timeout=1s500ms", {"connect_timeout": 1.5}),
        ("u:p@tcp(h)/db?collation=utf8mb4_unicode_ci", {"collation": "utf8mb4_unicode_ci"}),
        ("u:p@tcp(h)/db?charset=latin1", {"charset": "latin1"}),
        ("u:p@tcp(h)/db?tls=false", {"ssl_disabled": True}),
    ],
)
def test_parts_of_the_go_form(text: str, expected: dict[str, Any]) -> None:
    connect = parse(text).connect
    assert {name: connect.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("tls", "verifies", "checks_name"),
    [("true", True, True), ("1", True, True), ("skip-verify", False, False), ("SKIP-VERIFY", False, False)],
)
def test_tls(tls: str, *, verifies: bool, checks_name: bool) -> None:
    context = parse(f"u:p@tcp(h)/db?tls={tls}").connect["ssl"]
    assert (context.verify_mode == ssl.CERT_REQUIRED, context.check_hostname) == (verifies, checks_name)


def test_tls_preferred_leaves_it_to_the_server() -> None:
    assert not {"ssl", "ssl_disabled"} & parse("u:p@tcp(h)/db?tls=preferred").connect.keys()


def test_a_password_of_its_own() -> None:
    assert parse("u@tcp(h)/db", CANARY).connect["password"] == CANARY.encode()
    assert parse("mysql://u@h/db", CANARY).connect["password"] == CANARY.encode()


@pytest.mark.parametrize("text", [f"u:{CANARY}@tcp(h)/db", f"mysql://u:{CANARY}@h/db"])
def test_what_is_shown_holds_no_password(text: str) -> None:
    source = parse(text)
    assert CANARY not in repr(source) + source.place


def test_sqlite(tmp_path: Path) -> None:
    assert parse(f"sqlite:///{tmp_path}/users.db").file == tmp_path / "users.db"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"u:{CANARY}@tcp(h)", "forms are"),
        (f"u:{CANARY}@tcp(h/db", "forms are"),
        (f"u:{CANARY}@tcp(h)/", "no database"),
        (f"u:{CANARY}@tcp(h:x)/db", "host:port"),
        (f"u:{CANARY}@tcp(h:0)/db", "host:port"),
        (f"u:{CANARY}@udp(h)/db", "tcp or unix"),
        (f":{CANARY}@tcp(h)/db", "no user"),
        (f"u:{CANARY}@tcp(h)/db?charset={CANARY}", "charset"),
        (f"u:{CANARY}@tcp(h)/db?collation='{CANARY}", "collation"),
        (f"u:{CANARY}@tcp(h)/db?loc={CANARY}", "loc"),
        (f"u:{CANARY}@tcp(h)/db?parseTime={CANARY}", "parseTime"),
        (f"u:{CANARY}@tcp(h)/db?timeout={CANARY}", "timeout"),
        (f"u:{CANARY}@tcp(h)/db?timeout=5", "timeout"),
        (f"u:{CANARY}@tcp(h)/db?tls={CANARY}", "tls"),
        (f"u:{CANARY}@tcp(h)/db?ssl_ca=/{CANARY}", "loc|ssl_ca|forms"),
        (f"u:{CANARY}@tcp(h)/db?ssl_ca=%2F{CANARY}", "ssl_ca"),
        (f"u:{CANARY}@tcp(h)/db?multiStatements={CANARY}", "multiStatements"),
        (f"u:{CANARY}@tcp(h)/db?multistatements=true", "unknown parameter"),
        (f"u:{CANARY}@tcp(h)/db?allowNativePasswords=false", "allowNativePasswords"),
        (f"u:{CANARY}@tcp(h)/db?allowCleartextPasswords=false", "allowCleartextPasswords"),
        (f"u:{CANARY}@tcp(h)/db?serverPubKey={CANARY}", "serverPubKey"),
        (f"u:{CANARY}@tcp(h)/db?strict=true", "use sql_mode"),
        (f"u:{CANARY}@tcp(h)/db?timeTruncate={CANARY}", "timeTruncate"),
        (f"u:{CANARY}@tcp(h)/db?maxAllowedPacket={CANARY}", "maxAllowedPacket"),
        (f"u:{CANARY}@tcp(h)/db?time_zone=%27{CANARY}", "time_zone"),
        (f"u:{CANARY}@tcp(h)/db?wait_timeout=1,autocommit=0", "wait_timeout"),
        (f"u:{CANARY}@tcp(h)/db?wait_timeout=%27{CANARY}", "wait_timeout"),
        (f"u:{CANARY}@tcp(h)/db?sql_mode=%27STRICT_ALL_TABLES,ANSI_QUOTES%27", "sql_mode: ANSI_QUOTES"),
        (f"u:{CANARY}@tcp(h)/db?autocommit=0", "unknown parameter"),
        (f"u:{CANARY}@tcp(h)/db?unique_checks=0", "unknown parameter"),
        (f"u:{CANARY}@tcp(h)/db?{CANARY}=1", "unknown parameter"),
        (f"mysql://u:{CANARY}@h/db?{CANARY}=1", "unknown parameter"),
        (f"mysql://u:{CANARY}@h", "no database"),
        (f"mysql://u:{CANARY}@h:x/db", "no database URL"),
        (f"postgresql://u:{CANARY}@h/db", "no supported database"),
        (f"mysql+aiomysql://u:{CANARY}@h/db", "no supported database"),
        ("sqlite://", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
        (CANARY, "forms are"),
        ("/db", "no user"),
    ],
)
def test_what_is_wrong_is_said_without_the_password(text: str, says: str) -> None:
    with pytest.raises(InvalidDSNError, match=says) as raised:
        parse(text)
    assert CANARY not in str(raised.value)
    assert raised.value.__cause__ is None


def test_two_passwords_are_one_too_many() -> None:
    with pytest.raises(InvalidDSNError, match="keep one of them"):
        parse(f"u:{CANARY}@tcp(h)/db", "other")
    with pytest.raises(InvalidDSNError, match="no password"):
        parse("sqlite:///users.db", "other")


@pytest.mark.parametrize(
    ("parameters", "variable", "value"),
    [
        ("sql_mode=TRADITIONAL", "sql_mode", "TRADITIONAL"),
        ("sql_mode=%27NO_ZERO_DATE,STRICT_ALL_TABLES%27", "sql_mode", "STRICT_ALL_TABLES"),
        ("tx_isolation=%27READ-COMMITTED%27", "tx_isolation", "READ-COMMITTED"),
        ("wait_timeout=77&max_statement_time=1.5", "wait_timeout", "77"),
        ("time_zone=%27%2B08%3A00%27", "time_zone", "+00:00"),
    ],
)
def test_session_variables_are_set(database: Scratch, parameters: str, variable: str, value: str) -> None:
    opened = Database(parse(f"{database.go_dsn}&{parameters}"))
    schema.upgrade(opened)
    with opened.connection("test", "SELECT users") as connection:
        assert value in str(connection.scalar(sqlalchemy.text(f"SELECT @@session.{variable}")))
    opened.close()
