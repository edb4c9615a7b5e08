"""The table `users`: made, or adopted as the Go system's ORM made it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from user_svc.schema import UnusableSchemaError

revision = "0001"
down_revision = None

BCRYPT_LENGTH = 60

# Both are known to MySQL 8 and 9 and to every MariaDB, and neither tells cases apart.
CHARSET = "utf8mb4"
COLLATION = "utf8mb4_general_ci"


def upgrade() -> None:
    """Make the table or check that an existing one will do, adding the moments that it lacks."""
    connection = op.get_bind()
    if sa.inspect(connection).has_table("users"):
        _adopt(connection)
    else:
        _create(connection.dialect.name)


def _create(dialect: str) -> None:
    sqlite = dialect == "sqlite"
    moment = sa.DateTime() if sqlite else mysql.DATETIME(fsp=3)
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
    columns = {column["name"]: column for column in sa.inspect(connection).get_columns("users")}
    if missing := {"id", "username", "password"} - columns.keys():
        raise UnusableSchemaError(f"the table users has no column {' or '.join(sorted(missing))}")
    moment = sa.DateTime() if connection.dialect.name == "sqlite" else mysql.DATETIME(fsp=3)
    for name in ("created_at", "updated_at", "deleted_at"):
        if name not in columns:
            op.add_column("users", sa.Column(name, moment, nullable=True))
