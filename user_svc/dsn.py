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

from service_kit.files import Certificates, File, TlsFiles, UnusableFileError, Use

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
class Tls:
    """How the server is verified, and the files for that."""

    files: TlsFiles
    chain: bool
    """Whether the server's certificate must be signed by one of the authorities, the system's if there is no file."""
    name: bool
    """Whether it must bear the host's name as well."""

    def context(self, certificates: Certificates) -> ssl.SSLContext:
        """Return what new connections use while `certificates` are the newest."""
        authorities = certificates.authorities.decode("ascii", "replace")
        context = ssl.create_default_context(cadata=authorities or None)
        certificates.load_into(context)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # which the authorities that servers make for themselves fail
        context.check_hostname = self.name
        if not self.chain:
            context.verify_mode = ssl.CERT_NONE
        return context


@dataclass(frozen=True)
class Source:
    """A database and how to reach it."""

    place: str
    """`host:port/database` or a file's path, for people. Holds no secret."""
    file: Path | None
    """Set when the database is SQLite."""
    connect: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What PyMySQL's connect() takes."""
    settings: tuple[str, ...] = ()
    """Session variables as SET takes them, such as `wait_timeout = 60`."""
    tls: Tls | None = None
    """Set when TLS needs files; `connect` has what they held when the DSN was read."""
    renewed: Callable[[], Mapping[str, Any]] | None = field(default=None, repr=False)
    """Returns what a new connection takes instead of the same names in `connect`."""


def sqlite(path: Path) -> Source:
    """Name the SQLite database in the file `path`."""
    return Source(str(path), path)


def parse(text: str, password: str | None = None, files: TlsFiles | None = None) -> Source:
    """Read a DSN; `password` and `files` are those that were given apart from it.

    The Go form is https://github.com/go-sql-driver/mysql#dsn-data-source-name with all of its parameters, those that
    are about Go's side only checked, and besides SQLAlchemy's ssl_ca, ssl_cert and ssl_key, which are paths of PEM
    files, and ssl_check_hostname. A URL takes the same ones. Timeouts over 2 s are cut to that.

    Raises:
        InvalidDSNError: with a sentence that says what is wrong.
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
    if not parameters.keys() <= _PARAMETERS.keys() | _VARIABLES | _TLS_PARAMETERS:
        known = ", ".join(sorted([*_PARAMETERS, *_VARIABLES, *_TLS_PARAMETERS], key=str.lower))
        raise InvalidDSNError(f"has an unknown parameter; known are {known}")
    for name, read in _PARAMETERS.items():
        if name in parameters:
            try:
                connect |= read(parameters[name])
            except ValueError as invalid:
                raise InvalidDSNError(f"parameter {name}: {invalid}") from None
    options, tls = _tls(parameters, files)
    address = where.get("unix_socket") or f"{where['host']}:{where['port']}"
    settings = (_variable(name, parameters[name]) for name in sorted(_VARIABLES & parameters.keys()))
    return Source(f"{address}/{database}", None, connect | options, tuple(settings), tls)


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


def _variable(name: str, value: str) -> str:
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


def _tls(parameters: dict[str, str], files: TlsFiles | None) -> tuple[dict[str, Any], Tls | None]:
    """Read the parameters of TLS, which must be asked for as in Go's driver: by `tls`, an authority or a certificate.

    With an authority the server's chain and name are verified, unless the parameters say otherwise.
    """
    used = files or _tls_files(parameters)
    mode = _tls_mode(parameters, files) or (
        "true" if used.authorities else "skip-verify" if used.certificate else "false"
    )
    check_name = parameters.get("ssl_check_hostname", "true").lower()
    if check_name not in {*_TRUE, *_FALSE}:
        raise InvalidDSNError("parameter ssl_check_hostname: must be true or false")
    if mode in _FALSE:
        return {"ssl_disabled": True}, None
    if mode == "preferred" and used.certificate is None:
        return {}, None  # PyMySQL's default, which reads the system's authorities anew for each connection: 20 ms
    verified = mode in _TRUE
    tls = Tls(used, chain=verified, name=verified and check_name in _TRUE)
    try:
        options = {"ssl": tls.context(used.read())}
    except (UnusableFileError, ssl.SSLError):
        if files is not None:
            raise
        # without the path, which may hold a part of a password that has characters of URLs
        raise InvalidDSNError("parameters ssl_ca, ssl_cert and ssl_key must name PEM files that can be used") from None
    return options, tls if used.certificate or used.authorities else None


def _tls_mode(parameters: dict[str, str], files: TlsFiles | None) -> str:
    """Return the parameter `tls`, which may be empty, and must not contradict `files`."""
    mode = parameters.get("tls", "").lower()
    if mode not in {"", *_TLS_MODES, *_FALSE}:
        raise InvalidDSNError("parameter tls: must be true, false, skip-verify or preferred")
    if files is None:
        return mode
    if any(parameters.get(name) for name in _TLS_FILES):
        raise InvalidDSNError("DB_CA_FILE or DB_CERT_FILE is set and DB_DSN has a parameter ssl_...; keep one of them")
    if files.authorities is None and not mode:
        raise InvalidDSNError("DB_CERT_FILE is set without DB_CA_FILE; set that or parameter tls of DB_DSN")
    if files.authorities is not None and mode not in {"", *_TRUE}:
        raise InvalidDSNError("parameter tls: leaves out the verification that DB_CA_FILE asks for; remove one of them")
    return mode


def _tls_files(parameters: dict[str, str]) -> TlsFiles:
    certificate, key, authorities = (
        File(f"{name} in DB_DSN", Path(parameters[name])) if parameters.get(name) else None for name in _TLS_FILES
    )
    if key and not certificate:
        raise InvalidDSNError("parameter ssl_key needs ssl_cert")
    return TlsFiles(certificate, key or certificate, authorities, (Use.CLIENT,))


_TRUE = frozenset({"1", "true"})
_FALSE = frozenset({"0", "false"})
_TLS_MODES = frozenset({*_TRUE, "skip-verify", "preferred"})
_TLS_FILES = ("ssl_cert", "ssl_key", "ssl_ca")
_TLS_PARAMETERS = frozenset({"tls", "ssl_check_hostname", *_TLS_FILES})

_VARIABLES = frozenset(
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
"""Session variables that may be set; what others do to this service's statements is not known."""

_DIALECTS = frozenset(
    {"ANSI", "ANSI_QUOTES", "DB2", "MAXDB", "MSSQL", "NO_BACKSLASH_ESCAPES", "ORACLE", "PIPES_AS_CONCAT", "POSTGRESQL"}
)
"""Modes in which the same SQL is another statement."""

_PARAMETERS: dict[str, Callable[[str], dict[str, Any]]] = {
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
