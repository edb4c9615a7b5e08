"""Bringing the database's schema up to this version of the service."""

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from user_svc.database import Database

VERSION_TABLE = "user_svc_schema"
"""Its own name, since the database may be shared with programs that use Alembic, too."""

PROBE = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608  # a constant
"""Fails when the database was emptied."""

logger = logging.getLogger(__name__)


class UnusableSchemaError(Exception):
    """The tables that are there cannot be used as they are; the sentence says why."""


def upgrade(database: Database) -> None:
    """Apply the revisions that are missing; many processes may do so at once.

    A schema newer than this version is left alone and used: revisions only ever expand what older versions see.

    Raises:
        SQLAlchemyError, OSError, TimeoutError: when the database fails; what was done stays done.
        UnusableSchemaError: when an adopted table lacks what the service needs.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_current_head()
    with database.migrating() as connection:
        current = _current(connection)
        if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
            logger.warning("the schema is newer than this version of the service", extra={"revision": current})
        elif current != head:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
            logger.info("schema upgraded", extra={"revision": head, "from": current or "nothing"})


def _current(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    current = context.get_current_revision()
    connection.rollback()
    return current
