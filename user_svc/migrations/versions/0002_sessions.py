"""Sessions: the tables `sessions` and `revocations`, and the columns of `users` about tokens.

Only additions, each with a default: the Go system and older versions of this service go on writing `users` beside it.
No foreign keys: ids of an adopted table are INT or BIGINT. Moments of the new tables are milliseconds since the epoch.
"""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from user_svc.migrations import additions
from user_svc.schema import UnusableSchemaError, done_once

revision = "0002"
down_revision = "0001"

_Id = sa.Integer().with_variant(mysql.BIGINT(unsigned=True), "mysql", "mariadb")
_Number = sa.Integer().with_variant(mysql.INTEGER(unsigned=True), "mysql", "mariadb")
_Random = sa.LargeBinary(16).with_variant(mysql.BINARY(16), "mysql", "mariadb")
_Moment = sa.DateTime().with_variant(mysql.DATETIME(fsp=3), "mysql", "mariadb")


def upgrade() -> None:
    """Add what is missing, unless something else has one of the names."""
    tables = [_sessions(), _revocations()]
    held = {column["name"].lower(): column for column in sa.inspect(op.get_bind()).get_columns("users")}
    if problems := [*_column_problems(held), *additions.problems(tables)]:
        raise UnusableSchemaError("; ".join(problems))
    additions.add(tables)
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
    """Name the columns of an adopted table that have the name of one of ours and are something else."""
    moment, number = (sa.DateTime,), (sa.INTEGER, sa.BIGINT)
    kinds: dict[str, tuple[tuple[type[object], ...], str]] = {
        "disabled_at": (moment, "a DATETIME that is NULL by default"),
        "generation": (number, "an INT UNSIGNED NOT NULL of 0 by default"),
        "generation_at": (moment, "a DATETIME that is NULL by default"),
    }
    for name, (kind, needed) in kinds.items():
        if (column := held.get(name)) is None:
            continue
        default = str(column.get("default") or "NULL").strip("'\"()").upper()
        expected = ("NULL", True) if kind is moment else ("0", False)
        if not isinstance(column["type"], kind) or (default, column["nullable"]) != expected:
            yield f"the table users has a column {name} that is not {needed}; rename it"


def _sessions() -> sa.Table:
    return additions.table(
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
    return additions.table(
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
        autoincrement=True,
    )
