"""A database and how to reach it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from user_svc.dsn.tls import Tls


@dataclass(frozen=True)
class Source:
    """A database and how to reach it."""

    place: str
    """`host:port/database` or a file's path, for people. Holds no secret."""
    file: Path | None
    """Set when the database is SQLite."""
    connect: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Arguments of PyMySQL's connect()."""
    settings: tuple[str, ...] = ()
    """Session variables in the syntax of SET, such as `wait_timeout = 60`."""
    tls: Tls | None = None
    """Set when TLS needs files; `connect` has what they held when the DSN was read."""
    renewed: Callable[[], Mapping[str, Any]] | None = field(default=None, repr=False)
    """Returns arguments of a new connection that replace those of the same names in `connect`."""


def sqlite(path: Path) -> Source:
    """Name the SQLite database in the file `path`."""
    return Source(str(path), path)
