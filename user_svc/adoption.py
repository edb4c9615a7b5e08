"""Adoption of a table `users` that another program created in MySQL or MariaDB: checks, and missing parts."""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from user_svc import collation
from user_svc.schema import ANOTHER_MIGRATION, SchemaBusyError, UnusableSchemaError

_FILLED = frozenset({"id", "username", "password", "created_at", "updated_at"})
"""The columns that get a value of each row's own; all others are left to their defaults."""

_MOMENTS = ("created_at", "updated_at", "deleted_at")
_LEAST = {"username": 20, "password": 60}
"""Characters that a column must hold: the contract's longest name, and a bcrypt hash."""

_KEY_BYTES = 3072
"""Size limit of an InnoDB key."""

_TABLE = """
SELECT TABLE_TYPE, t.ENGINE, TRANSACTIONS, CREATE_OPTIONS FROM information_schema.TABLES AS t
LEFT JOIN information_schema.ENGINES AS e ON e.ENGINE = t.ENGINE
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'users'"""
_COLUMNS = """
SELECT COLUMN_NAME, DATA_TYPE, CHARACTER_MAXIMUM_LENGTH, CHARACTER_OCTET_LENGTH, IS_NULLABLE, COLUMN_DEFAULT,
CHARACTER_SET_NAME, COLLATION_NAME, GENERATION_EXPRESSION, EXTRA, COLUMN_COMMENT
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'users'"""
_UNIQUE_KEYS = """
SELECT INDEX_NAME, COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'users' AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX"""
_FOREIGN_KEYS = """
SELECT CONSTRAINT_NAME, COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'users' AND REFERENCED_TABLE_NAME IS NOT NULL
ORDER BY CONSTRAINT_NAME, ORDINAL_POSITION"""
_REFERENCES = """
SELECT 1 FROM information_schema.KEY_COLUMN_USAGE WHERE REFERENCED_TABLE_SCHEMA = DATABASE()
AND REFERENCED_TABLE_NAME = 'users' AND REFERENCED_COLUMN_NAME = 'username' LIMIT 1"""
_MARIADB_CHECKS = """
SELECT CONSTRAINT_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS
WHERE CONSTRAINT_SCHEMA = DATABASE() AND TABLE_NAME = 'users'"""
_MYSQL_CHECKS = """
SELECT c.CONSTRAINT_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS AS c
JOIN information_schema.TABLE_CONSTRAINTS AS t USING (CONSTRAINT_SCHEMA, CONSTRAINT_NAME)
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'users' AND ENFORCED = 'YES'"""
_TRIGGERS = """
SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = DATABASE()
AND EVENT_OBJECT_TABLE = 'users' AND EVENT_MANIPULATION <> 'DELETE' ORDER BY TRIGGER_NAME"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lack:
    """Changes that an existing table needs."""

    username: str | None
    """The column's new definition, where its collation is case-sensitive."""
    has_index: bool
    """Whether an index makes `username` alone unique."""
    columns: tuple[str, ...]
    """Columns that are missing."""


def examine(connection: Connection) -> Lack:
    """Examine the table `users` without changing it, and return what is missing.

    Triggers that run when the service writes are logged: what they do cannot be known.

    Raises:
        SchemaBusyError: when another session changes the table.
        UnusableSchemaError: naming each column with which the service could not keep its contract.
    """
    table = _Table(connection)
    if problems := [*table.problems()]:
        raise UnusableSchemaError("the table users cannot be used: " + "; ".join(problems))
    if triggers := [name for (name,) in connection.execute(text(_TRIGGERS))]:
        logger.warning(
            "the table users has triggers; check that they let registrations and logins pass",
            extra={"triggers": ", ".join(triggers)},
        )
    return table.lack()


@dataclass(frozen=True)
class _Column:
    name: str
    kind: str
    """Such as `varchar`."""
    length: int | None
    octets: int | None
    nullable: bool
    default: str | None
    """As information_schema has it."""
    default_is_sql: bool
    """Whether that is an expression, not a value."""
    charset: str | None
    collation: str | None
    generated: str | None
    """The expression of a generated column."""
    extra: str
    comment: str

    @property
    def is_null_by_default(self) -> bool:
        return self.nullable and (self.default is None or (self.default_is_sql and self.default.upper() == "NULL"))


@dataclass
class _Key:
    name: str
    parts: list[tuple[str | None, bool]]
    """Of each column its name, None of an expression, and whether the key holds the whole of it."""


class _CannotBeJudgedError(Exception):
    pass


class _Table:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._is_mariadb = bool(getattr(connection.dialect, "is_mariadb", False))
        self._columns = {column.name: column for column in self._read_columns()}
        self._keys = self._read_unique_keys()
        self._new_collation: str | None = None

    def problems(self) -> Iterator[str]:
        """Return the reasons that prevent use of the table."""
        kind, engine, has_transactions, options = self._query(_TABLE)[0]
        if kind == "BASE TABLE" and (engine is None or not self._columns):
            raise SchemaBusyError(ANOTHER_MIGRATION)  # information_schema leaves out what is being changed
        if kind != "BASE TABLE":
            yield f"it is a {kind}, not a plain table"
            return
        if missing := {"id", "username", "password"} - self._columns.keys():
            yield f"it has no column {' and no column '.join(sorted(missing))}"
            return
        if has_transactions != "YES":
            yield f"its engine {engine} has no transactions; convert it to InnoDB"
        yield from self._id_problems()
        yield from self._text_problems()
        yield from self._moment_problems()
        yield from self._default_problems()
        yield from self._key_problems()
        yield from self._foreign_key_problems()
        yield from self._expression_problems()
        yield from self._name_problems(options or "")

    def lack(self) -> Lack:
        """Return the additions for a table without problems."""
        username = self._columns["username"]
        definition = None
        if self._new_collation:
            length = "" if "text" in username.kind else f"({username.length})"
            definition = (
                f"{username.kind}{length} CHARACTER SET {username.charset} COLLATE {self._new_collation} "
                f"{'NULL' if username.nullable else 'NOT NULL'}{self._default_and_comment(username)}"
            )
        return Lack(definition, self._has_index, tuple(name for name in _MOMENTS if name not in self._columns))

    @property
    def _has_index(self) -> bool:
        return any(key.parts == [("username", True)] for key in self._keys)

    def _id_problems(self) -> Iterator[str]:
        column = self._columns["id"]
        if "auto_increment" not in column.extra:
            yield "id is not AUTO_INCREMENT; make it so"
        elif column.kind not in {"int", "bigint"}:
            yield f"id is a {column.kind}, which runs out of numbers; make it bigint unsigned"
        elif not any(key.parts == [("id", True)] for key in self._keys):
            yield "id alone is not unique; make it the primary key"

    def _text_problems(self) -> Iterator[str]:
        for name, least in _LEAST.items():
            column = self._columns[name]
            is_text = column.kind in {"char", "varchar"} or column.kind.endswith("text")
            if not is_text or (column.length or 0) < least:
                yield f"{name} does not hold {least} characters; make it varchar(255)"

    def _moment_problems(self) -> Iterator[str]:
        for name in _MOMENTS:
            column = self._columns.get(name)
            if column and column.kind not in {"datetime", "timestamp"}:
                yield f"{name} is not a DATETIME but a {column.kind}; make it datetime(3)"
            elif column and name == "deleted_at" and not column.is_null_by_default:
                yield "deleted_at is not NULL by default, as it is for users who are there; make it datetime(3) NULL"

    def _default_problems(self) -> Iterator[str]:
        for name, column in self._columns.items():
            if column.generated is not None and name in {*_FILLED, *_MOMENTS}:
                yield f"{name} is generated, and this service would store a value in it; make it a plain column"
            has_value = name in _FILLED or column.generated is not None or column.nullable
            if not has_value and column.default is None:
                yield f"{name} has no default though it is NOT NULL, and this service would not fill it; give it one"

    def _key_problems(self) -> Iterator[str]:
        """Name each unique key that could refuse a user whose name is free."""
        for key in self._keys:
            columns = [column or "an expression" for column, _ in key.parts]
            is_harmless = ("id", True) in key.parts or ("username", True) in key.parts
            if is_harmless or any(self._never_clashes(column) for column, _ in key.parts):
                continue
            if columns == ["username"]:
                yield f"username has the unique key {key.name} on its first characters only; make it one on all of it"
            else:
                yield (
                    f"{', '.join(columns)} has the unique key {key.name}, which would refuse users whose names are "
                    "free; drop the key, or make the default NULL"
                )

    def _foreign_key_problems(self) -> Iterator[str]:
        keys: dict[str, list[str]] = {}
        for name, column in self._query(_FOREIGN_KEYS):
            keys.setdefault(name, []).append(column)
        for name, columns in keys.items():
            if not any(self._is_null(column) for column in columns):
                yield (
                    f"{', '.join(columns)} has the foreign key {name}, which may refuse new users; drop the key, or "
                    "make the default NULL"
                )

    def _expression_problems(self) -> Iterator[str]:
        """Name the checks and generated columns that refuse a new row, or may."""
        for name, clause in self._query(_MARIADB_CHECKS if self._is_mariadb else _MYSQL_CHECKS):
            columns = ", ".join(sorted(_names(clause))) or "it"
            try:
                if self._value(clause) == 0:
                    yield f"{columns} has the check {name}, which refuses the defaults; change one of the two"
            except _CannotBeJudgedError:
                yield f"{columns} has the check {name}, which may refuse new users; drop it"
        for column in self._columns.values():
            if column.generated is not None and column.name not in _FILLED:
                try:
                    self._value(column.generated)
                except _CannotBeJudgedError:
                    yield f"{column.name} is generated in a way that may refuse new users; drop the column"

    def _name_problems(self, options: str) -> Iterator[str]:
        """Return the reasons why usernames are not case-insensitively unique."""
        column = self._columns["username"]
        if not column.charset or not column.collation:
            return
        if problem := self._collation_problem(column.charset, column.collation):
            yield f"username has the collation {column.collation}, which {problem}"
            return
        if not self._has_index:
            if "partitioned" in options:
                yield "username has no unique index, and a partitioned table can get none; remove the partitions"
            elif not self._is_mariadb and (column.octets or 0) > _KEY_BYTES:
                yield "username is too long for a unique index; make it varchar(64)"
        if self._new_collation or not self._has_index:
            query = (
                "SELECT COUNT(*) FROM (SELECT 1 AS one FROM users WHERE username IS NOT NULL "  # noqa: S608  # the server's
                f"GROUP BY username COLLATE {self._new_collation or column.collation} HAVING COUNT(*) > 1) AS names"
            )
            if clashes := self._query(query)[0][0]:
                yield f"{clashes} names are there more than once when case is ignored; rename these users first"

    def _collation_problem(self, charset: str, name: str) -> str | None:
        """Return the problem of the username's collation, and choose another one where that is safe."""
        if not collation.tells_cases_apart(self._connection, charset, name):
            difference = collation.difference(self._connection, charset, name)
            return difference and f"{difference}; make it utf8mb4_general_ci"
        new = f"{charset}_general_ci"
        if not self._is_usable(charset, new):
            return "tells cases apart; make it utf8mb4_general_ci"
        if self._query(_REFERENCES):
            return f"tells cases apart, and a foreign key refers to it; drop that key, or make both {new}"
        self._new_collation = new
        return None

    def _is_usable(self, charset: str, name: str) -> bool:
        known = text("SELECT 1 FROM information_schema.COLLATIONS WHERE COLLATION_NAME = :name")
        exists = self._connection.scalar(known, {"name": name})
        return bool(exists) and collation.difference(self._connection, charset, name) is None

    def _never_clashes(self, name: str | None) -> bool:
        """Tell whether no two rows have the same value in a unique key's column that is left to its default."""
        default = self._columns[name].default if name in self._columns else None
        return self._is_null(name) or (name not in _FILLED and default is not None and default.lower() == "uuid()")

    def _is_null(self, name: str | None) -> bool:
        """Tell whether the column is NULL in every row that this service inserts."""
        if name is None or name in _FILLED:
            return False
        column = self._columns[name]
        if column.generated is None:
            return column.is_null_by_default
        try:
            return self._value(column.generated) is None
        except _CannotBeJudgedError:
            return False

    def _value(self, expression: str) -> object:
        """Have the server evaluate an expression over the columns of a row that this service inserts.

        Raises:
            _CannotBeJudgedError: when it depends on what is inserted, or fails.
        """
        if not self._is_mariadb:
            expression = expression.replace("\\'", "'")  # MySQL shows literals so
        names = sorted(_names(expression))
        if _FILLED & {*names} or any(name not in self._columns or self._columns[name].generated for name in names):
            raise _CannotBeJudgedError
        row = ", ".join(f"{self._default(self._columns[name])} AS `{name}`" for name in names)
        query = f"SELECT ({_escaped(expression)}) FROM (SELECT {row or 1}) AS defaults"  # noqa: S608  # the server's
        try:
            return self._connection.scalar(text(query))
        except DBAPIError:
            raise _CannotBeJudgedError from None

    def _default_and_comment(self, column: _Column) -> str:
        default = "" if column.default is None else f" DEFAULT {self._default(column)}"
        return default + (f" COMMENT {_quoted(column.comment)}" if column.comment else "")

    def _default(self, column: _Column) -> str:
        """Write the default as SQL."""
        if column.default is None:
            return "NULL"
        if not column.default_is_sql:
            return _quoted(column.default)
        return _escaped(column.default if self._is_mariadb else f"({column.default})")

    def _read_columns(self) -> Iterator[_Column]:
        for row in self._query(_COLUMNS):
            name, kind, length, octets, nullable, default, charset, collated, generated, extra, comment = row
            default_is_sql = self._is_mariadb or "DEFAULT_GENERATED" in extra
            yield _Column(
                name=name,
                kind=kind.lower(),
                length=length,
                octets=octets,
                nullable=nullable == "YES",
                default=default,
                default_is_sql=default_is_sql,
                charset=charset,
                collation=collated,
                generated=generated or None,
                extra=extra.lower(),
                comment=comment,
            )

    def _read_unique_keys(self) -> list[_Key]:
        keys: dict[str, _Key] = {}
        for name, column, prefix in self._query(_UNIQUE_KEYS):
            keys.setdefault(name, _Key(name, [])).parts.append((column, prefix is None))
        return [*keys.values()]

    def _query(self, statement: str) -> list[Any]:
        return [*self._connection.execute(text(statement))]


def _names(expression: str) -> set[str]:
    """Return the columns that an expression of information_schema mentions."""
    return set(re.findall(r"`([^`]+)`", expression))


def _escaped(expression: str) -> str:
    """Keep text() from taking a colon for a parameter."""
    return expression.replace(":", "\\:")


def _quoted(value: str) -> str:
    return _escaped("'" + value.replace("\\", "\\\\").replace("'", "''") + "'")
