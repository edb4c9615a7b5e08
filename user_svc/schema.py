"""Migration of the database's schema to this version of the service."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from pymysql.constants import ER
from sqlalchemy import Column, Connection, MetaData, String, Table, delete
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.schema import CreateTable

from user_svc.database import Database
from user_svc.database_errors import code_of

VERSION_TABLE = "user_svc_schema"
"""Its own name, since the database may be shared with programs that use Alembic, too."""

PROBE = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608  # a constant
"""Fails when the database was emptied."""

_VERSIONS = Table(VERSION_TABLE, MetaData(), Column("version_num", String(32), primary_key=True))
"""As Alembic makes it, though not when another process was faster."""

ANOTHER_MIGRATION = "another process is migrating the schema"
_RETRY = 1.0
"""Seconds."""
_TABLE_RETRY = 5.0
"""Seconds in which everyone else uses the table undisturbed."""

_CONFLICTS = {ER.LOCK_DEADLOCK, ER.QUERY_INTERRUPTED, 1684}
"""With changes of the same tables by others, also on other nodes of a cluster. PyMySQL does not name 1684,
ER_WARN_I_S_SKIPPED_TABLE."""

_DONE = {ER.TABLE_EXISTS_ERROR, ER.DUP_FIELDNAME, ER.DUP_KEYNAME}

logger = logging.getLogger(__name__)


class UnusableSchemaError(Exception):
    """The existing tables cannot be used as they are; the message says why."""


class SchemaBusyError(Exception):
    """The schema cannot be migrated now; the message says why, and the migration is to be tried again later."""

    def __init__(self, sentence: str, retry_after: float = _RETRY) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after
        """Seconds."""


def upgrade(database: Database) -> None:
    """Apply the revisions that are missing; many processes may do so at once, with a lock or without.

    A schema that needs nothing is not locked. One newer than this version is left alone and used: revisions only ever
    expand what older versions see.

    Raises:
        SQLAlchemyError, CommandError, OSError: when the database fails; what was done stays done.
        SchemaBusyError: when others hold the lock or a table.
        UnusableSchemaError: when an adopted table lacks what the service needs.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    with database.probing() as connection:
        if _is_current(_current(connection), scripts):
            return
    try:
        with database.migrating() as connection:
            _upgrade(database, config, scripts, connection)
    except SQLAlchemyError as error:
        if code_of(error) == ER.LOCK_WAIT_TIMEOUT:
            sentence = "another session uses the table that a migration is to change"
            raise SchemaBusyError(sentence, retry_after=_TABLE_RETRY) from None
        if code_of(error) in _CONFLICTS:
            raise SchemaBusyError(ANOTHER_MIGRATION) from None
        raise


def _upgrade(database: Database, config: Config, scripts: ScriptDirectory, connection: Connection) -> None:
    with database.migration_lock(connection) as is_ours:
        if not is_ours:
            raise SchemaBusyError(ANOTHER_MIGRATION)
        config.attributes["connection"] = connection
        while not _is_current(before := _current(connection), scripts):
            _apply(config, connection, before)


@contextmanager
def done_once() -> Iterator[None]:
    """Around one step of DDL in a revision: a step that another process has taken counts as done."""
    try:
        yield
    except DBAPIError as error:
        if code_of(error) not in _DONE:
            raise


def _apply(config: Config, connection: Connection, before: str | None) -> None:
    """Apply revisions after `before`, up to the last one unless another process gets in between."""
    try:
        connection.execute(CreateTable(_VERSIONS, if_not_exists=True))
        _drop_earlier(connection)
        command.upgrade(config, "head")
    except (SQLAlchemyError, CommandError):
        another_was_late = _drop_earlier(connection)
        if not another_was_late and _current(connection) == before:
            raise
    else:
        logger.info("schema upgraded", extra={"revision": _current(connection), "from": before or "nothing"})


def _is_current(current: str | None, scripts: ScriptDirectory) -> bool:
    if current is None or current == scripts.get_current_head():
        return current is not None
    if current in {script.revision for script in scripts.walk_revisions()}:
        return False
    logger.warning("the schema is newer than this version of the service", extra={"revision": current})
    return True


def _current(connection: Connection) -> str | None:
    """Return the revision that the schema has, None before the first.

    A process without a lock may write the first revision after another has written the second: the highest counts.
    """
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return max(context.get_current_heads(), default=None)


def _drop_earlier(connection: Connection) -> bool:
    """Remove what other processes wrote late; return whether there was any."""
    if (current := _current(connection)) is None:
        return False
    return connection.execute(delete(_VERSIONS).where(_VERSIONS.c.version_num < current)).rowcount > 0
