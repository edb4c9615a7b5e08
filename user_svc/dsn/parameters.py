"""The parameters of Go's MySQL driver, and their meaning here."""

import re
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pymysql.charset import charset_by_name

from user_svc.dsn.errors import InvalidDSNError

TIMEOUT = 2.0
"""Seconds to connect, to read and to write at most, so that a database that hangs is known before a call's deadline."""

_DURATION = re.compile(r"(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+")
_DURATION_PART = re.compile(r"([\d.]+)([a-zµμ]+)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

VARIABLES = frozenset(
    {
        "innodb_lock_wait_timeout",
        "interactive_timeout",
        "lock_wait_timeout",
        "max_execution_time",
        "max_statement_time",
        "net_read_timeout",
        "net_write_timeout",
        "sql_mode",
        "transaction_isolation",
        "tx_isolation",
        "wait_timeout",
        "wsrep_sync_wait",
    }
)
"""Session variables that may be set; the effect of others on this service's statements is unknown."""

_DIALECTS = frozenset(
    {"ANSI", "ANSI_QUOTES", "DB2", "MAXDB", "MSSQL", "NO_BACKSLASH_ESCAPES", "ORACLE", "PIPES_AS_CONCAT", "POSTGRESQL"}
)
"""Modes in which the same SQL is another statement."""


def _charset(value: str) -> dict[str, Any]:
    name = value.split(",")[0]  # Go takes a list and tries each; servers since MySQL 5.5 know the first, utf8mb4
    if charset_by_name(name) is None:
        raise ValueError("no such character set")
    return {"charset": name}


def _collation(value: str) -> dict[str, Any]:
    if not re.fullmatch(r"\w+", value, re.ASCII):
        raise ValueError("must be a collation's name")
    return {"collation": value}


def _boolean(value: str) -> dict[str, Any]:
    """Check a parameter that asks for what holds here anyway, or is about Go's types and results."""
    _is_true(value)
    return {}


def _is_true(value: str) -> bool:
    if value not in {"1", "true", "TRUE", "True", "0", "false", "FALSE", "False"}:
        raise ValueError("must be true or false")
    return value.lower() in {"1", "true"}


def _permission(value: str) -> dict[str, Any]:
    """Check what may forbid a way to log in, which PyMySQL cannot."""
    if not _is_true(value):
        raise ValueError("false cannot be kept to here; use tls=true, which protects the password in every method")
    return {}


def _server_key(_value: str) -> dict[str, Any]:
    raise ValueError("names a key of a Go program; use tls=true and ssl_ca to know the server")


def _strict(_value: str) -> dict[str, Any]:
    raise ValueError("is no longer known to the Go driver; use sql_mode")


def _any(_value: str) -> dict[str, Any]:
    return {}


def _integer(value: str) -> dict[str, Any]:
    if not re.fullmatch(r"\d+", value, re.ASCII):
        raise ValueError("must be a number")
    return {}


def _time_zone(value: str) -> dict[str, Any]:
    """Check time_zone, of which what is stored must not depend: this service's sessions run in UTC."""
    _literal(value)
    return {}


def session_variable(name: str, value: str) -> str:
    """Write a session variable for SET.

    Raises:
        InvalidDSNError: when it would change what statements mean, or is not a plain value.
    """
    try:
        literal = _literal(value)
    except ValueError as invalid:
        raise InvalidDSNError(f"parameter {name}: {invalid}") from None
    if name == "sql_mode" and (modes := _DIALECTS & set(re.split(r"\W+", value.upper()))):
        raise InvalidDSNError(f"parameter {name}: {min(modes)} would change what this service's statements mean")
    return f"{name} = {literal}"


def _literal(value: str) -> str:
    if not re.fullmatch(r"[\w.]+|'[\w ,:+/.-]*'", value, re.ASCII):
        raise ValueError("must be a number, a word, or text in single quotes")
    return value


def _location(value: str) -> dict[str, Any]:
    """Check loc, which is about Go's types: this service writes UTC."""
    if value != "Local":
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("no such time zone") from None
    return {}


def _timeout(name: str | None) -> Callable[[str], dict[str, Any]]:
    def read(value: str) -> dict[str, Any]:
        if value != "0" and not _DURATION.fullmatch(value):
            raise ValueError("must be a duration such as 500ms or 10s")
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(value))
        return {name: min(seconds or TIMEOUT, TIMEOUT)} if name else {}

    return read


PARAMETERS: dict[str, Callable[[str], dict[str, Any]]] = {
    "allowAllFiles": _boolean,
    "allowCleartextPasswords": _permission,
    "allowFallbackToPlaintext": _boolean,
    "allowNativePasswords": _permission,
    "allowOldPasswords": _boolean,
    "charset": _charset,
    "checkConnLiveness": _boolean,
    "clientFoundRows": _boolean,
    "collation": _collation,
    "columnsWithAlias": _boolean,
    "compress": _boolean,
    "connectionAttributes": _any,
    "interpolateParams": _boolean,
    "loc": _location,
    "maxAllowedPacket": _integer,
    "multiStatements": _boolean,
    "parseTime": _boolean,
    "rejectReadOnly": _boolean,
    "serverPubKey": _server_key,
    "strict": _strict,
    "time_zone": _time_zone,
    "timeTruncate": _timeout(None),
    "tinyInt1IsBool": _boolean,
    "timeout": _timeout("connect_timeout"),
    "readTimeout": _timeout("read_timeout"),
    "writeTimeout": _timeout("write_timeout"),
}
"""Each returns the argument of PyMySQL's connect() for a value, and raises ValueError for one without equivalent."""
