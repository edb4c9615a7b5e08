"""Later versions of the charts and of the schema, made from today's."""

import shutil
from pathlib import Path
from typing import Any

from support.cluster import Manifest
from support.namespace import CHARTS

NEXT = "next"
"""The tag under which the images are loaded a second time, in the place of a later version."""

MIGRATION = '''"""Adds what only a later version knows."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("users", sa.Column("later", sa.Integer(), nullable=True))
'''


def later_charts(folder: Path) -> Path:
    """Copy the charts as their next version, whose application is the next, too; return the umbrella's folder."""
    copy = folder / "charts"
    today = (CHARTS.parent / "VERSION").read_text().strip()
    shutil.copytree(CHARTS, copy, symlinks=True)
    for file in copy.glob("*/Chart.yaml"):
        text = file.read_text().replace(f"appVersion: {today}", f"appVersion: {NEXT}")
        assert f"version: {today}" in text
        file.write_text(text.replace(f"version: {today}", "version: 99.0.0"))
    return copy / "video-platform"


def migration_file() -> Manifest:
    """Return a ConfigMap with a migration of a later version."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "migration"},
        "data": {"0004_later.py": MIGRATION},
    }


def with_migration() -> dict[str, Any]:
    """Return the values by which the user service finds that migration among its own."""
    return {
        "extraVolumes": [{"name": "migration", "configMap": {"name": "migration"}}],
        "extraVolumeMounts": [
            {
                "name": "migration",
                "mountPath": "/app/user_svc/migrations/versions/0004_later.py",
                "subPath": "0004_later.py",
                "readOnly": True,
            }
        ],
    }
