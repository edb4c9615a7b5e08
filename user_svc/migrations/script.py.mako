"""${message}."""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Expand only: what an older version of the service reads and writes must go on working."""
    ${upgrades if upgrades else "raise NotImplementedError"}
