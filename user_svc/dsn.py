"""DB_DSN: a SQLAlchemy URL, or the form that Go's MySQL driver reads."""

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_plus
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pymysql.charset import charset_by_name
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

TIMEOUT = 2.0
"""Seconds to connect, to read and to write at most, so that a database that hangs is known before a call's deadline."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_DURATION = re.compile(r"(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+")
_DURATION_PART = re.compile(r"([\d.]+)([a-zµμ]+)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_FORMS = "user:pass@tcp(host:3306)/database?name=value, mysql://user:pass@host:3306/database or sqlite:///file"


class InvalidDSNError(ValueError):
    """A DSN that cannot be used; the sentence shows nothing of its password."""


@dataclass(frozen=True)
class Source:
    """A database and how to reach it."""

    place: str
    """`host:port/database` or a file's path, for people. Holds no secret."""
    file: Path | None
    """Set when the database is SQLite."""
    connect: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What PyMySQL's connect() takes."""


def sqlite(path: Path) -> Source:
    """Name the SQLite database in the file `path`."""
    return Source(str(path), path)


def parse(text: str, password: str | None = None) -> Source:
    """Read a DSN; `password` is the one that was given apart from it.

    The Go form is https://github.com/go-sql-driver/mysql#dsn-data-source-name with the parameters charset, collation,
    parseTime, loc, timeout, readTimeout, writeTimeout and tls, and besides ssl_ca, ssl_cert and ssl_key, which are
    paths of PEM files. A URL takes the same ones. Timeouts over 2 s are cut to that.

    Raises:
        InvalidDSNError: with a sentence that says what is wrong.
    """
    return _from_url(text, password) if _URL.match(text) else _from_go(text, password)


def _from_url(text: str, password: str | None) -> Source:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise InvalidDSNError(f"is no database URL; the forms are {_FORMS}") from None
    backend, _, driver = url.drivername.partition("+")
    parameters = {name: values[-1] for name, values in url.normalized_query.items()}
    if backend == "sqlite" and driver in {"", "pysqlite"}:
        if not url.database or url.database == ":memory:" or url.host or parameters:
            raise InvalidDSNError("must name a file, as in sqlite:///users.db, and nothing else")
        if password is not None:
            raise InvalidDSNError("SQLite has no password")
        return sqlite(Path(url.database))
    if backend not in {"mysql", "mariadb"} or driver not in {"", "pymysql"}:
        raise InvalidDSNError(f"names no supported database; the forms are {_FORMS}")
    where = {"host": url.host or "localhost", "port": url.port or 3306}
    return _mysql(url.username, url.password, password, url.database, where, parameters)


def _from_go(text: str, password: str | None) -> Source:
    left, slash, right = text.rpartition("/")
    account, _, target = left.rpartition("@")
    protocol, parenthesis, address = target.partition("(")
    if not slash or bool(parenthesis) != address.endswith(")"):
        raise InvalidDSNError(f"is no data source name; the forms are {_FORMS}, a slash in a value is written %2F")
    user, _, own_password = account.partition(":")
    database, _, query = right.partition("?")
    where = _go_address(protocol or "tcp", address.removesuffix(")"))
    parameters = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        parameters[name] = unquote_plus(value)
    return _mysql(user, own_password, password, unquote(database), where, parameters)


def _go_address(protocol: str, address: str) -> dict[str, Any]:
    if protocol == "unix":
        return {"host": "localhost", "unix_socket": address or "/tmp/mysql.sock"}  # noqa: S108  # Go's default
    if protocol != "tcp":
        raise InvalidDSNError("the protocol before the address must be tcp or unix")
    host, colon, port = address.rpartition(":") if not address.endswith("]") else (address, "", "")
    if not colon:
        host, port = address, "3306"
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise InvalidDSNError("the address in brackets must be host:port")
    return {"host": host.removeprefix("[").removesuffix("]") or "127.0.0.1", "port": int(port)}


def _mysql(
    user: str | None,
    own_password: str | None,
    password: str | None,
    database: str | None,
    where: dict[str, Any],
    parameters: dict[str, str],
) -> Source:
    if not user:
        raise InvalidDSNError("names no user")
    if not database:
        raise InvalidDSNError("names no database after the slash")
    if own_password and password:
        raise InvalidDSNError("DB_PASSWORD is set and DB_DSN holds a password; keep one of them")
    connect: dict[str, Any] = {
        "user": user,
        "password": (password or own_password or "").encode(),  # as bytes: PyMySQL would encode a string as Latin-1
        "database": database,
        "connect_timeout": TIMEOUT,
        "read_timeout": TIMEOUT,
        "write_timeout": TIMEOUT,
        "charset": "utf8mb4",
        **where,
    }
    if not parameters.keys() <= _PARAMETERS.keys() | _TLS_PARAMETERS:
        known = ", ".join([*_PARAMETERS, *sorted(_TLS_PARAMETERS)])
        raise InvalidDSNError(f"has an unknown parameter; known are {known}")
    for name, read in _PARAMETERS.items():
        if name in parameters:
            try:
                connect |= read(parameters[name])
            except ValueError as invalid:
                raise InvalidDSNError(f"parameter {name}: {invalid}") from None
    connect |= _tls(**{name: parameters[name] for name in _TLS_PARAMETERS & parameters.keys()})
    address = where.get("unix_socket") or f"{where['host']}:{where['port']}"
    return Source(f"{address}/{database}", None, connect)


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
    """Check parseTime, which is about Go's types."""
    if value not in {"1", "true", "TRUE", "True", "0", "false", "FALSE", "False"}:
        raise ValueError("must be true or false")
    return {}


def _location(value: str) -> dict[str, Any]:
    """Check loc, which is about Go's types: this service writes UTC."""
    if value != "Local":
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("no such time zone") from None
    return {}


def _timeout(name: str) -> Callable[[str], dict[str, Any]]:
    def read(value: str) -> dict[str, Any]:
        if value != "0" and not _DURATION.fullmatch(value):
            raise ValueError("must be a duration such as 500ms or 10s")
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(value))
        return {name: min(seconds or TIMEOUT, TIMEOUT)}

    return read


def _tls(tls: str = "", ssl_ca: str = "", ssl_cert: str = "", ssl_key: str = "") -> dict[str, Any]:
    """Read the parameters of TLS, which as in Go's driver must be asked for; a CA alone checks who signed, no names."""
    mode = tls.lower() or ("verify-ca" if ssl_ca else "skip-verify" if ssl_cert else "false")
    if mode in {"0", "false"}:
        return {"ssl_disabled": True}
    if mode == "preferred" and not ssl_cert:
        return {}  # PyMySQL's default, which reads the system's authorities anew for each connection: 20 ms
    if mode not in {"1", "true", "skip-verify", "preferred", "verify-ca"}:
        raise InvalidDSNError("parameter tls: must be true, false, skip-verify or preferred")
    try:
        context = ssl.create_default_context(cafile=ssl_ca or None)
        if ssl_cert:
            context.load_cert_chain(ssl_cert, ssl_key or None)
    except OSError:  # ssl.SSLError is one as well
        raise InvalidDSNError("parameters ssl_ca, ssl_cert and ssl_key must name PEM files that can be read") from None
    if ssl_ca:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # which the authorities that servers make for themselves fail
    context.check_hostname = mode in {"1", "true"}
    if mode in {"skip-verify", "preferred"}:
        context.verify_mode = ssl.CERT_NONE
    return {"ssl": context}


_TLS_PARAMETERS = frozenset({"tls", "ssl_ca", "ssl_cert", "ssl_key"})

_PARAMETERS: dict[str, Callable[[str], dict[str, Any]]] = {
    "charset": _charset,
    "collation": _collation,
    "parseTime": _boolean,
    "loc": _location,
    "timeout": _timeout("connect_timeout"),
    "readTimeout": _timeout("read_timeout"),
    "writeTimeout": _timeout("write_timeout"),
}
