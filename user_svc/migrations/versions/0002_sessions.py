"""Sessions: the tables `sessions` and `revocations`, and what `users` tells of the tokens of each user.

Only additions, each with a default: the Go system and older versions of this service go on writing `users` beside it.
No foreign keys: ids of an adopted table are INT or BIGINT. Moments of the new tables are milliseconds since the epoch.
"""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateTable

from user_svc.schema import UnusableSchemaError, done_once

revision = "0002"
down_revision = "0001"

CHARSET = "utf8mb4"
COLLATION = "utf8mb4_general_ci"

_Id = sa.Integer().with_variant(mysql.BIGINT(unsigned=True), "mysql", "mariadb")
_Number = sa.Integer().with_variant(mysql.INTEGER(unsigned=True), "mysql", "mariadb")
_Random = sa.LargeBinary(16).with_variant(mysql.BINARY(16), "mysql", "mariadb")
_Moment = sa.DateTime().with_variant(mysql.DATETIME(fsp=3), "mysql", "mariadb")


def upgrade() -> None:
    """Add what is missing, unless something else bears one of the names."""
    connection = op.get_bind()
    inspector = sa.inspect(connection)
    tables = [_sessions(), _revocations()]
    held = {column["name"].lower(): column for column in inspector.get_columns("users")}
    if problems := [*_column_problems(held), *_table_problems(inspector, tables)]:
        raise UnusableSchemaError("; ".join(problems))
    for table in tables:
        if not inspector.has_table(table.name):
            with done_once():
                op.execute(CreateTable(table))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            if not sa.inspect(connection).has_index(table.name, str(index.name)):
                with done_once():
                    op.create_index(index.name, table.name, [column.name for column in index.columns])
    for column in _added():
        if column.name not in held:
            with done_once():
                op.add_column("users", column)


def _added() -> tuple["sa.Column[object]", ...]:
    return (
        sa.Column("disabled_at", _Moment, nullable=True),
        sa.Column("generation", _Number, nullable=False, server_default="0"),
        sa.Column("generation_at", _Moment, nullable=True),
    )


def _column_problems(held: "dict[str, sa.engine.interfaces.ReflectedColumn]") -> Iterator[str]:
    """Name the columns of an adopted table that bear the name of one of ours and are something else."""
    kinds: dict[str, tuple[type[object], str]] = {
        "disabled_at": (sa.DateTime, "a DATETIME that is NULL by default"),
        "generation": (sa.Integer, "an INT UNSIGNED of 0 by default"),
        "generation_at": (sa.DateTime, "a DATETIME that is NULL by default"),
    }
    for name, (kind, needed) in kinds.items():
        if (column := held.get(name)) is None:
            continue
        default = str(column.get("default") or "NULL").strip("'\"()").upper()
        if not isinstance(column["type"], kind) or default != ("0" if kind is sa.Integer else "NULL"):
            yield f"the table users has a column {name} that is not {needed}; rename it"


def _table_problems(inspector: sa.Inspector, tables: list[sa.Table]) -> Iterator[str]:
    for table in tables:
        if not inspector.has_table(table.name):
            continue
        if {column["name"] for column in inspector.get_columns(table.name)} != set(table.columns.keys()):
            yield f"the table {table.name} is another program's; rename it, or give this service a database of its own"


def _sessions() -> sa.Table:
    return _table(
        "sessions",
        sa.Column("id", _Random, primary_key=True),
        sa.Column("user_id", _Id, nullable=False),
        sa.Column("generation", _Number, nullable=False),
        sa.Column("serial", _Number, nullable=False),
        sa.Column("previous", _Number, nullable=False),
        # as UTF-8, since the DSN may name a character set that has not all characters
        sa.Column("device", sa.LargeBinary(256).with_variant(mysql.VARBINARY(256), "mysql", "mariadb"), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("rotated_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("end_reason", sa.String(16), nullable=True),
        # what a refresh changes is in neither, so that it locks no more than its row
        sa.Index("ix_sessions_user", "user_id", "ended_at"),
        sa.Index("ix_sessions_expiry", "expires_at"),
    )


def _revocations() -> sa.Table:
    return _table(
        "revocations",
        sa.Column("id", _Id, primary_key=True, autoincrement=True),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("user_id", _Id, nullable=True),
        sa.Column("token_id", _Random, nullable=True),
        sa.Column("generation", _Number, nullable=True),
        sa.Column("disabled", sa.Boolean(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Index("ix_revocations_at", "at", "id"),
        sa.Index("ix_revocations_expiry", "expires_at"),
    )


def _table(name: str, *parts: sa.schema.SchemaItem) -> sa.Table:
    return sa.Table(
        name,
        sa.MetaData(),
        *parts,
        sqlite_autoincrement=name == "revocations",
        mysql_engine="InnoDB",
        mysql_charset=CHARSET,
        mysql_collate=COLLATION,
        mariadb_engine="InnoDB",
        mariadb_charset=CHARSET,
        mariadb_collate=COLLATION,
    )
