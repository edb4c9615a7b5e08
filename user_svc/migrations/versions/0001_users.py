"""The table `users`: made, or adopted as the Go system's ORM made it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateTable

from user_svc import adoption
from user_svc.schema import UnusableSchemaError, done_once

revision = "0001"
down_revision = None

CHARSET = "utf8mb4"
COLLATION = "utf8mb4_general_ci"
"""Known to MySQL 8 and 9 and to every MariaDB; does not tell cases apart."""


def upgrade() -> None:
    """Create the table, or check an existing one and add its missing parts.

    MySQL commits each statement by itself, so a run that was cut short leaves a table that the next one adopts.
    """
    connection = op.get_bind()
    dialect = connection.dialect.name
    if not sa.inspect(connection).has_table("users"):
        with done_once():
            op.execute(CreateTable(_table(dialect)))
    elif dialect == "sqlite":
        _refuse_a_table_of_others(connection)
    else:
        _adopt(connection)


def _table(dialect: str) -> sa.Table:
    sqlite = dialect == "sqlite"
    moment = sa.DateTime() if sqlite else _MOMENT
    name = sa.String(64, collation="NOCASE" if sqlite else COLLATION)
    return sa.Table(
        "users",
        sa.MetaData(),
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


def _refuse_a_table_of_others(connection: sa.Connection) -> None:
    """Raise UnusableSchemaError unless the table is that of an earlier run: SQLite cannot alter collations."""
    ours = str(CreateTable(_table("sqlite")).compile(dialect=connection.dialect))
    found = str(connection.scalar(sa.text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'users'")))
    if found.split() != ours.split():
        raise UnusableSchemaError(
            "the table users cannot be used: in SQLite it must be one that this service made; choose another file"
        )


def _adopt(connection: sa.Connection) -> None:
    lack = adoption.examine(connection)
    if lack.username:
        op.execute(f"ALTER TABLE users MODIFY username {lack.username}")
    if not lack.has_index:
        with done_once():
            op.create_index("uq_users_username", "users", ["username"], unique=True)
    for name in lack.columns:
        with done_once():
            op.add_column("users", sa.Column(name, _MOMENT, nullable=True))


_MOMENT = mysql.DATETIME(fsp=3)
