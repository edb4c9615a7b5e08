"""Tables that revisions add beside `users`."""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import CreateTable

from user_svc.schema import done_once

_CHARSET = "utf8mb4"
_COLLATION = "utf8mb4_general_ci"


def table(name: str, *parts: sa.schema.SchemaItem, autoincrement: bool = False) -> sa.Table:
    """Describe a table whose text columns compare alike on MySQL and MariaDB of each version."""
    return sa.Table(
        name,
        sa.MetaData(),
        *parts,
        sqlite_autoincrement=autoincrement,
        mysql_engine="InnoDB",
        mysql_charset=_CHARSET,
        mysql_collate=_COLLATION,
        mariadb_engine="InnoDB",
        mariadb_charset=_CHARSET,
        mariadb_collate=_COLLATION,
    )


def problems(tables: list[sa.Table]) -> Iterator[str]:
    """Name the tables of other programs with the name of one of `tables`."""
    inspector = sa.inspect(op.get_bind())
    for each in tables:
        if not inspector.has_table(each.name):
            continue
        if {column["name"] for column in inspector.get_columns(each.name)} != set(each.columns.keys()):
            yield f"the table {each.name} is another program's; rename it, or give this service a database of its own"


def add(tables: list[sa.Table]) -> None:
    """Create missing tables and indexes."""
    connection = op.get_bind()
    for each in tables:
        if not sa.inspect(connection).has_table(each.name):
            with done_once():
                op.execute(CreateTable(each))
        for index in sorted(each.indexes, key=lambda index: str(index.name)):
            if not sa.inspect(connection).has_index(each.name, str(index.name)):
                with done_once():
                    op.create_index(index.name, each.name, [column.name for column in index.columns])
