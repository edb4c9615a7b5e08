"""Connections to the database: the pool of the calls, the connection of the health check, that of the migrations."""

import fcntl
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy
from pymysql.constants import ER
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from service_kit.telemetry import tracing
from user_svc import metrics
from user_svc.database_errors import (
    DEMOTED,
    DatabaseUnavailableError,
    RolledBackError,
    UnknownOutcomeError,
    code_name,
    code_of,
    is_rolled_back,
    number_of,
    unavailability,
)
from user_svc.dsn import Source

POOL_SIZE = 10
MAX_OVERFLOW = 90
CHECKOUT_TIMEOUT = 1.0
"""Seconds that a call waits for a connection when all of the pool's are in use."""

PING_TIMEOUT = 1.0
"""Seconds that the database has for an answer, and then as many for a new connection, until it counts as away."""

MIGRATION_TIMEOUT = 60.0
"""Seconds that one statement of a migration takes at most before it is tried again."""

LOCK_WAIT = 1
"""Seconds that a process waits for another one's migration before it looks again whether there is one left to do."""

DDL_WAIT = 1
"""Seconds that a change of a table waits for statements that use it: less than TIMEOUT, since others wait behind it."""

SLOW = 1.0
"""Seconds after which a statement is worth a warning."""

RENEWAL_INTERVAL = 1.0
"""Seconds between two emptyings of the pool at least, however many statements fail on a server that was demoted."""

_SQLITE_BUSY_MS = 2000
_OPENED_AT = "opened_at"
_NO_LOCKS = {ER.UNKNOWN_ERROR, ER.NOT_SUPPORTED_YET}
"""How GET_LOCK is refused: by Percona XtraDB Cluster (pxc_strict_mode), and by releases of MariaDB with Galera."""

_READ_ONLY_VARIABLES = ("read_only", "innodb_read_only", "transaction_read_only", "tx_read_only")
"""Those of MySQL and of MariaDB; super_read_only turns on read_only as well."""
# SHOW, because a proxy that splits reads from writes sends each SELECT to a replica, which is always read-only.
_READ_ONLY = text(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN {_READ_ONLY_VARIABLES} AND Value NOT IN ('OFF', '0')")

logger = logging.getLogger(__name__)


class Database:
    """The engines on one database. Creating it connects to nothing."""

    def __init__(
        self,
        source: Source,
        *,
        pool_size: int = POOL_SIZE,
        max_overflow: int = MAX_OVERFLOW,
        recycle: float | None = None,
    ) -> None:
        """Keep `pool_size` connections, open `max_overflow` more on demand, lend none older than `recycle` seconds."""
        self.source = source
        self._renewed_at = 0.0
        self.engine = _engine(
            source,
            pool_size=pool_size,
            max_overflow=max_overflow,
            pool_timeout=CHECKOUT_TIMEOUT,
            pool_recycle=-1 if recycle is None else recycle,
            pool_pre_ping=True,
            # Every statement of the service stands alone, so no call pays for a BEGIN and a COMMIT.
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
        )
        self._own = _engine(
            source, timeout=PING_TIMEOUT, pool_size=1, max_overflow=0, pool_pre_ping=True, isolation_level="AUTOCOMMIT"
        )
        for engine in (self.engine, self._own):
            event.listen(engine, "handle_error", self._leave_demoted)
        event.listen(self.engine, "connect", _note_age)
        event.listen(self.engine, "checkout", self._refuse_old)
        metrics.db_pool_connections.labels("in_use").set_function(lambda: self._pool.checkedout())
        metrics.db_pool_connections.labels("idle").set_function(lambda: self._pool.checkedin())
        metrics.db_pool_connections_max.set(pool_size + max_overflow)

    @property
    def _pool(self) -> Any:
        return self.engine.pool

    @property
    def _system(self) -> str:
        dialect = self.engine.dialect
        return "mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name

    @contextmanager
    def connection(self, query: str, summary: str) -> Iterator[Connection]:
        """Lend a connection of the pool for one statement, or a few at once, which the log calls `query`.

        Its span is named after `summary`, such as `SELECT users`; values are in neither.

        Raises:
            RolledBackError: when the database executed nothing of the statement and may do so if asked again.
            DatabaseUnavailableError: when none is to be had or the database fails.
            SQLAlchemyError: when the statement does, as with an IntegrityError.
        """
        operation, _, table = summary.partition(" ")
        attributes = {
            "db.system.name": self._system,
            "db.query.summary": summary,
            "db.operation.name": operation,
            "db.collection.name": table,
        }
        with tracing.start_as_current_span(summary, tracing.Kind.CLIENT, attributes) as span:
            try:
                with self.engine.connect() as connection, _timed(query):
                    yield connection
            except SQLAlchemyError as error:
                cause = unavailability(error)
                span.set_error(cause or code_name(error))
                if cause is None:
                    raise
                raise (RolledBackError if is_rolled_back(error) else DatabaseUnavailableError)(cause) from None

    @contextmanager
    def transaction(self, query: str, summary: str) -> Iterator[Connection]:
        """Lend a connection as connection() does, for statements that are committed together or not at all.

        Raises:
            UnknownOutcomeError: when the answer to COMMIT was lost; else as connection() does.
        """
        is_committing = False
        try:
            with self.connection(query, summary) as connection:
                # SQLite: a transaction that begins by reading could not go on to write beside another one's writing
                connection.exec_driver_sql("BEGIN IMMEDIATE" if self.source.file else "BEGIN")
                try:
                    yield connection
                    is_committing = True
                    connection.exec_driver_sql("COMMIT")
                except BaseException:
                    connection.invalidate()  # which rolls back, also where no answer to ROLLBACK would come
                    raise
        except DatabaseUnavailableError as error:
            if not is_committing or isinstance(error, RolledBackError):
                raise
            raise UnknownOutcomeError(str(error)) from None

    def renew(self) -> None:
        """Replace each connection before it is lent again: another server may be behind the address."""
        self._renewed_at = time.monotonic()

    def _leave_demoted(self, context: sqlalchemy.engine.ExceptionContext) -> None:
        if number_of(context.original_exception) in DEMOTED:
            context.is_disconnect = True
            context.invalidate_pool_on_disconnect = False
            if time.monotonic() - self._renewed_at >= RENEWAL_INTERVAL:
                self.renew()

    def _refuse_old(self, _connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
        if record.info[_OPENED_AT] < self._renewed_at:
            raise sqlalchemy.exc.DisconnectionError

    def ping(self, statement: str = "SELECT 1") -> bool:
        """Ask the database for an answer, on a connection that no call uses, and return whether it accepts writes.

        A connection to a read-only server is closed, so that the next one may lead to its successor.

        Raises:
            SQLAlchemyError: when it does not answer.
            OSError: when the folder of a SQLite file cannot be made.
        """
        if self.source.file:
            self.source.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.source.file.exists():
                self.source.file.touch(mode=0o600)  # SQLite gives its other files the same mode
        with self.probing() as connection:
            connection.execute(text(statement))
            writable = bool(self.source.file) or connection.execute(_READ_ONLY).first() is None
            if not writable:
                connection.invalidate()
        return writable

    @contextmanager
    def probing(self) -> Iterator[Connection]:
        """Lend the connection that no call uses, on which a server that hangs is known after PING_TIMEOUT.

        Raises:
            SQLAlchemyError: when the database fails.
        """
        with self._own.connect() as connection:
            yield connection

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Lend a connection to read and change the schema with; migration_lock() is taken apart from it.

        Its statements wait for a table at most DDL_WAIT seconds, and everyone else's behind them no longer.

        Raises:
            SQLAlchemyError: when the database fails, ER_LOCK_WAIT_TIMEOUT when a table could not be had.
        """
        settings = f"lock_wait_timeout = {DDL_WAIT}"
        engine = _engine(
            self.source, settings, timeout=MIGRATION_TIMEOUT, poolclass=NullPool, isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            if self.source.file:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")  # the file keeps it
            yield connection

    @contextmanager
    def migration_lock(self, connection: Connection) -> Iterator[bool]:
        """Hold the lock that lets one process at a time change the schema, until `connection` is closed.

        Gives False when another process holds it. Where the server has no such lock, as in a cluster, goes on without.

        Raises:
            SQLAlchemyError, OSError: when the database fails.
        """
        if self.source.file is None:
            yield _named_lock(connection)
            return
        path = self.source.file.with_name(f"{self.source.file.name}.lock")
        path.touch(mode=0o600)
        with path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def close(self) -> None:
        """Close all connections, those in use when they come back."""
        self.engine.dispose()
        self._own.dispose()


@contextmanager
def _timed(query: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        duration = time.perf_counter() - started
        metrics.db_query_seconds.observe(duration)
        level = logging.WARNING if duration > SLOW else logging.DEBUG
        logger.log(level, "query", extra={"query": query, "duration": round(duration, 6)})


def _engine(source: Source, *settings: str, timeout: float | None = None, **options: Any) -> Engine:
    if source.file is None:
        connect = {
            **source.connect,
            "init_command": ", ".join(["SET time_zone = '+00:00'", *source.settings, *settings]),
        }
        if timeout is not None:
            connect |= {"read_timeout": timeout, "write_timeout": timeout}
            connect["connect_timeout"] = min(timeout, connect["connect_timeout"])
        engine = sqlalchemy.create_engine("mysql+pymysql://", connect_args=connect, hide_parameters=True, **options)
        if (renewed := source.renewed) is not None:
            event.listen(engine, "do_connect", lambda *call: call[-1].update(renewed()))
        return engine
    url = sqlalchemy.URL.create("sqlite", database=str(source.file))
    engine = sqlalchemy.create_engine(url, hide_parameters=True, **options)
    event.listen(engine, "connect", _set_up_sqlite)
    return engine


def _note_age(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info[_OPENED_AT] = time.monotonic()


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.execute(f"PRAGMA busy_timeout={_SQLITE_BUSY_MS}")
    connection.execute("PRAGMA synchronous=NORMAL")


def _named_lock(connection: Connection) -> bool:
    """Take GET_LOCK, whose names are those of the whole server; the server frees it when the connection ends."""
    name = "CONCAT('user_svc migrate ', LEFT(SHA2(DATABASE(), 256), 32))"
    try:
        return bool(connection.scalar(text(f"SELECT GET_LOCK({name}, :wait)"), {"wait": LOCK_WAIT}))
    except DBAPIError as error:
        if code_of(error) in _NO_LOCKS:
            return True
        raise
