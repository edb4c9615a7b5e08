"""The table `login_failures`: wrong passwords by name, by which further tries are slowed down.

Only an addition, which older versions of this service and the Go system do not see.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from user_svc.migrations import additions
from user_svc.schema import UnusableSchemaError

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the table, unless another one has its name."""
    tables = [
        additions.table(
            "login_failures",
            sa.Column("id", sa.LargeBinary(16).with_variant(mysql.BINARY(16), "mysql", "mariadb"), primary_key=True),
            sa.Column(
                "failures",
                sa.Integer().with_variant(mysql.INTEGER(unsigned=True), "mysql", "mariadb"),
                nullable=False,
            ),
            sa.Column("last_at", sa.BigInteger(), nullable=False),
            sa.Index("ix_login_failures_last", "last_at"),
        )
    ]
    if problems := [*additions.problems(tables)]:
        raise UnusableSchemaError("; ".join(problems))
    additions.add(tables)
