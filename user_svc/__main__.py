"""The user service, the migration of its schema, and what operators do about users."""

import argparse
import logging
import sys
import time

from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from service_kit import process
from service_kit.files import Reader, UnusableFileError
from service_kit.settings import exit_with
from user_svc import operators, schema
from user_svc.config import DatabaseSettings, UserSettings
from user_svc.database import Database
from user_svc.database_errors import explain
from user_svc.server import Server

_PATIENCE = 600.0
"""Seconds that `migrate` waits for a lock or a table in use."""

logger = logging.getLogger("user_svc")


def main() -> int:
    """Run the command and return the exit code: 1 when the environment, 2 when a setting is at fault."""
    parser = argparse.ArgumentParser(prog="python -m user_svc", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", help="serve; the default")
    commands.add_parser("migrate", help="migrate the schema and end")
    operators.add_arguments(commands.add_parser("users", help="list users, and disable, log out, erase them"))
    arguments = parser.parse_args()
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it says what user_svc.schema says, and more often
    if arguments.command == "migrate":
        return _migrate(process.start("user_svc", DatabaseSettings))
    if arguments.command == "users":
        return operators.run(arguments, process.start("user_svc", DatabaseSettings))
    return process.serve("user_svc", UserSettings, Server)


def _migrate(settings: DatabaseSettings) -> int:
    try:
        database = Database(settings.followed_database(Reader()))
    except UnusableFileError as error:
        exit_with([str(error)])
    try:
        database.ping()
        _upgrade(database)
    except SQLAlchemyError as error:
        logger.error("%s: the database cannot be used", settings.database_variable, extra={"cause": explain(error)})  # noqa: TRY400  # a traceback would say no more
        return 1
    except (OSError, CommandError, schema.SchemaBusyError, schema.UnusableSchemaError) as error:
        logger.error("%s: schema migration failed", settings.database_variable, extra={"cause": str(error)})  # noqa: TRY400  # as above
        return 1
    finally:
        database.close()
    return 0


def _upgrade(database: Database) -> None:
    deadline = time.monotonic() + _PATIENCE
    said = ""
    while True:
        try:
            return schema.upgrade(database)
        except schema.SchemaBusyError as error:
            if time.monotonic() > deadline:
                raise
            if said != str(error):
                said = str(error)
                logger.info("waiting to migrate the schema", extra={"cause": said})
            time.sleep(error.retry_after)


if __name__ == "__main__":
    sys.exit(main())
