"""The table `users`: made, or adopted as the Go system's ORM made it."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from user_svc.schema import UnusableSchemaError

revision = "0001"
down_revision = None

CHARSET = "utf8mb4"
COLLATION = "utf8mb4_general_ci"
"""Known to MySQL 8 and 9 and to every MariaDB; does not tell cases apart."""

_OURS = {"id", "username", "password", "created_at", "updated_at", "deleted_at"}
_NAME_LENGTH = 20
_HASH_LENGTH = 60


def upgrade() -> None:
    """Make the table, or check that the one that is there will do and add what it lacks.

    MySQL commits each statement by itself, so a run that was cut short leaves a table that the next one adopts.
    """
    connection = op.get_bind()
    if sa.inspect(connection).has_table("users"):
        _adopt(connection)
    else:
        _create(connection.dialect.name)


def _create(dialect: str) -> None:
    sqlite = dialect == "sqlite"
    moment = _moment(dialect)
    name = sa.String(64, collation="NOCASE" if sqlite else COLLATION)
    op.create_table(
        "users",
        sa.Column("id", sa.Integer() if sqlite else mysql.BIGINT(unsigned=True), primary_key=True, autoincrement=True),
        sa.Column("username", name, nullable=False),
        sa.Column("password", sa.String(255), nullable=False),
        sa.Column("created_at", moment, nullable=True),
        sa.Column("updated_at", moment, nullable=True),
        sa.Column("deleted_at", moment, nullable=True),
        sa.UniqueConstraint("username", name="uq_users_username"),
        sqlite_autoincrement=True,
        mysql_engine="InnoDB",
        mysql_charset=CHARSET,
        mysql_collate=COLLATION,
        mariadb_engine="InnoDB",
        mariadb_charset=CHARSET,
        mariadb_collate=COLLATION,
    )


def _adopt(connection: sa.Connection) -> None:
    dialect = connection.dialect.name
    columns = {str(column["name"]): dict(column) for column in sa.inspect(connection).get_columns("users")}
    if problems := [*_problems(columns, dialect)]:
        raise UnusableSchemaError("the table users cannot be used: " + "; ".join(problems))
    charset, _, rest = ("", "", "ci") if dialect == "sqlite" else _collation(connection).partition("_")
    tells_cases_apart = not rest.endswith("ci")
    indexes = [*sa.inspect(connection).get_indexes("users"), *sa.inspect(connection).get_unique_constraints("users")]
    is_indexed = any(index["column_names"] == ["username"] and index.get("unique", True) for index in indexes)
    if tells_cases_apart or not is_indexed:
        _refuse_names_that_clash(connection)
    if tells_cases_apart:
        _ignore_case(columns["username"], charset)
    if not is_indexed:
        op.create_index("uq_users_username", "users", ["username"], unique=True)
    for name in ("created_at", "updated_at", "deleted_at"):
        if name not in columns:
            op.add_column("users", sa.Column(name, _moment(dialect), nullable=True))


def _problems(columns: dict[str, dict[str, Any]], dialect: str) -> list[str]:
    if missing := {"id", "username", "password"} - columns.keys():
        return [f"it has no column {' and no column '.join(sorted(missing))}"]
    found = []
    if dialect != "sqlite" and not columns["id"].get("autoincrement"):
        found.append("id is not AUTO_INCREMENT")
    for name, least in (("username", _NAME_LENGTH), ("password", _HASH_LENGTH)):
        kind = columns[name]["type"]
        if not isinstance(kind, sa.String) or (kind.length is not None and kind.length < least):
            found.append(f"{name} does not hold {least} characters")
    deleted_at = columns.get("deleted_at")
    if deleted_at and not (deleted_at["nullable"] and isinstance(deleted_at["type"], sa.DateTime)):
        found.append("deleted_at is not a DATETIME that is NULL for users who are there")
    found += [
        f"{name} has no default, and this service would not fill it"
        for name, column in columns.items()
        if name not in _OURS and not column["nullable"] and column["default"] is None and not column.get("computed")
    ]
    return found


def _collation(connection: sa.Connection) -> str:
    query = sa.text(
        "SELECT COLLATION_NAME FROM information_schema.COLUMNS "
        "WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'users' AND COLUMN_NAME = 'username'"
    )
    return str(connection.scalar(query))


def _ignore_case(column: dict[str, Any], charset: str) -> None:
    length = f"({column['type'].length})" if column["type"].length else ""
    kind = f"{type(column['type']).__name__}{length} CHARACTER SET {charset} COLLATE {charset}_general_ci"
    op.execute(f"ALTER TABLE users MODIFY username {kind} {'NULL' if column['nullable'] else 'NOT NULL'}")


def _refuse_names_that_clash(connection: sa.Connection) -> None:
    query = sa.text("SELECT COUNT(*) FROM (SELECT 1 AS n FROM users GROUP BY LOWER(username) HAVING COUNT(*) > 1) AS c")
    if clashes := connection.scalar(query):
        raise UnusableSchemaError(
            f"the table users cannot be used: {clashes} names are there more than once when case is ignored; "
            "rename these users first"
        )


def _moment(dialect: str) -> sa.types.TypeEngine[Any]:
    return sa.DateTime() if dialect == "sqlite" else mysql.DATETIME(fsp=3)
