"""Errors of the database: what each leaves of a statement, and its name, which contains no stored data."""

import sqlalchemy
from pymysql.constants import CR, ER
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

_CODES = {
    code: prefix + name
    for prefix, constants in (("", CR), ("ER_", ER))
    for name, code in sorted(vars(constants).items(), reverse=True)
    if isinstance(code, int) and not name.startswith("_")
}
_CODES |= {1792: "ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION", 1836: "ER_READ_ONLY_MODE"}  # PyMySQL names neither

DEMOTED = {ER.OPTION_PREVENTS_STATEMENT, 1792, 1836, ER.UNKNOWN_COM_ERROR}
"""Errors of a server that another may have replaced: it is read-only, or (1047) a Galera node without quorum."""
_ROLLED_BACK = {*DEMOTED, ER.LOCK_DEADLOCK, ER.LOCK_WAIT_TIMEOUT, ER.QUERY_INTERRUPTED, ER.CHECKREAD}
"""Errors that leave nothing of a statement that is a transaction of its own; Galera reports conflicts as 1213, MariaDB
those with innodb_snapshot_isolation (on by default since 11.6) as 1020."""


class DatabaseUnavailableError(Exception):
    """The database cannot be used now; the text is a code's name and contains no client input."""


class RolledBackError(DatabaseUnavailableError):
    """The database refused a statement or rolled it back: it can be executed again."""


class UnknownOutcomeError(DatabaseUnavailableError):
    """The answer to a COMMIT was lost: whether the transaction was committed is unknown."""


def unavailability(error: SQLAlchemyError) -> str | None:
    """Return why the database cannot be used; None when the error is about the statement."""
    if isinstance(error, sqlalchemy.exc.TimeoutError):
        return "POOL_EXHAUSTED"
    away = (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError, sqlalchemy.exc.InternalError)
    return code_name(error) if isinstance(error, away) else None


def is_rolled_back(error: SQLAlchemyError) -> bool:
    """Whether the statement had no effect, so that it can be executed again."""
    busy = getattr(getattr(error, "orig", None), "sqlite_errorname", None) == "SQLITE_BUSY"
    return busy or code_of(error) in _ROLLED_BACK


def code_of(error: SQLAlchemyError) -> int | None:
    """Return the number of MySQL's error, None when it has none."""
    return number_of(error.orig) if isinstance(error, DBAPIError) else None


def number_of(error: BaseException | None) -> int | None:
    """Return the number that the driver's error begins with, None when it has none."""
    code = error.args[0] if error is not None and error.args else None
    return code if isinstance(code, int) else None


def code_name(error: SQLAlchemyError) -> str:
    """Return the database's error as a name, such as ER_ACCESS_DENIED_ERROR; its text may contain input."""
    if not isinstance(error, DBAPIError) or error.orig is None:
        return type(error).__name__
    if name := getattr(error.orig, "sqlite_errorname", None):
        return str(name)
    code = code_of(error)
    return type(error.orig).__name__ if code is None else _CODES.get(code, str(code))


def explain(error: SQLAlchemyError) -> str:
    """Say why the database cannot be used: the error's name, and of a connection that failed the driver's words."""
    # The words of other kinds quote what was to be stored.
    if isinstance(error, sqlalchemy.exc.OperationalError) and error.orig is not None and error.orig.args:
        return f"{code_name(error)}: {error.orig.args[-1]}"
    return code_name(error)
