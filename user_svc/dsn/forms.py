"""The two forms of a DSN."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_plus

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from service_kit.files import TlsFiles
from user_svc.dsn import tls
from user_svc.dsn.errors import InvalidDSNError
from user_svc.dsn.parameters import PARAMETERS, TIMEOUT, VARIABLES, session_variable
from user_svc.dsn.source import Source, sqlite

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FORMS = "user:pass@tcp(host:3306)/database?name=value, mysql://user:pass@host:3306/database or sqlite:///file"


def parse(text: str, password: str | None = None, files: TlsFiles | None = None) -> Source:
    """Read a DSN; `password` and `files` are those that were given apart from it.

    The Go form is https://github.com/go-sql-driver/mysql#dsn-data-source-name with all of its parameters, those that
    are about Go's side only checked, and besides SQLAlchemy's ssl_ca, ssl_cert and ssl_key, which are paths of PEM
    files, and ssl_check_hostname. A URL takes the same ones. Timeouts over 2 s are cut to that.

    Raises:
        InvalidDSNError: when the DSN cannot be used.
    """
    return _from_url(text, password, files) if _URL.match(text) else _from_go(text, password, files)


def _from_url(text: str, password: str | None, files: TlsFiles | None) -> Source:
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
        if files is not None:
            raise InvalidDSNError("DB_CA_FILE and DB_CERT_FILE are not for SQLite; remove them")
        return sqlite(Path(url.database))
    if backend not in {"mysql", "mariadb"} or driver not in {"", "pymysql"}:
        raise InvalidDSNError(f"names no supported database; the forms are {_FORMS}")
    where = {"host": url.host or "localhost", "port": url.port or 3306}
    return _mysql(url.username, url.password, password, url.database, where, parameters, files)


def _from_go(text: str, password: str | None, files: TlsFiles | None) -> Source:
    left, slash, right = text.rpartition("/")
    account, _, target = left.rpartition("@")
    protocol, parenthesis, address = target.partition("(")
    if not slash or bool(parenthesis) != address.endswith(")"):
        raise InvalidDSNError(f"is no data source name; the forms are {_FORMS}, a slash in a value is written %2F")
    user, _, own_password = account.partition(":")
    database, _, query = right.partition("?")
    where = _go_address(protocol or "tcp", address.removesuffix(")"))
    parameters = {}
    for pair in query.split("&"):
        name, equals, value = pair.partition("=")
        if equals:  # Go passes over anything else
            parameters[name] = unquote_plus(value)
    return _mysql(user, own_password, password, unquote(database), where, parameters, files)


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
    files: TlsFiles | None,
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
    if not parameters.keys() <= PARAMETERS.keys() | VARIABLES | tls.PARAMETERS:
        known = ", ".join(sorted([*PARAMETERS, *VARIABLES, *tls.PARAMETERS], key=str.lower))
        raise InvalidDSNError(f"has an unknown parameter; known are {known}")
    for name, read in PARAMETERS.items():
        if name in parameters:
            try:
                connect |= read(parameters[name])
            except ValueError as invalid:
                raise InvalidDSNError(f"parameter {name}: {invalid}") from None
    options, verification = tls.read(parameters, files)
    address = where.get("unix_socket") or f"{where['host']}:{where['port']}"
    settings = (session_variable(name, parameters[name]) for name in sorted(VARIABLES & parameters.keys()))
    return Source(f"{address}/{database}", None, connect | options, tuple(settings), verification)
