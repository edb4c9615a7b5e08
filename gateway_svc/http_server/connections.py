"""How many connections there may be at a time."""

import asyncio
import contextlib
import ctypes
import logging
import resource

from gateway_svc import metrics

OWN_FILES = 64
"""Files that are no client's connection: the user services, etcd, the admin port, log and libraries."""
SPARE_FILES = 64
"""File descriptors kept for the admin port and for connections that are refused; a quarter of a lower limit."""
REPORT_INTERVAL = 60.0
"""Seconds between two log lines on refused connections."""

CROWD = 64
"""Number of connections from which freed memory is worth returning."""
TRIM_DELAY = 1.0
"""Seconds from the time when half of a crowd has left until its memory is given back."""

logger = logging.getLogger(__name__)


class ConnectionLimit:
    """At most so many connections as are wanted, and fewer when the process may not open so many files."""

    def __init__(self, wanted: int) -> None:
        """Raise the soft limit of open files towards the hard one as far as `wanted` connections need it."""
        self._limit = wanted
        files = _raise_file_limit(wanted + OWN_FILES + SPARE_FILES)
        self._highest_file = files - min(SPARE_FILES, files // 4)
        if self._highest_file < wanted + OWN_FILES:
            logger.warning(
                "MAX_CONNECTIONS is more than the limit of open files (ulimit -n) allows; raise that",
                extra={"max_connections": wanted, "files": files},
            )
        self._refused = 0
        self._report_due: asyncio.TimerHandle | None = None
        self._most = 0
        self._trim_due: asyncio.TimerHandle | None = None

    def admits(self, connections: int, file: int) -> bool:
        """Tell whether there may be one more beside `connections`; a refusal is counted and logged.

        The number of its `file` tells how many are open, since the system gives out the lowest one that is free.
        """
        if connections < self._limit and file < self._highest_file:
            self._most = max(self._most, connections + 1)
            return True
        metrics.connection_refused()
        self._refused += 1
        if self._report_due is None:
            self._report(connections)
        return False

    def left(self, connections: int) -> None:
        """Note that `connections` remain, and return memory to the system when their number has halved."""
        if self._most >= CROWD and connections <= self._most // 2 and self._trim_due is None:
            self._trim_due = asyncio.get_running_loop().call_later(TRIM_DELAY, self._trim)
            self._most = connections

    def _trim(self) -> None:
        self._trim_due = None
        _malloc_trim(0)

    def _report(self, connections: int) -> None:
        self._report_due = None
        if not self._refused:
            return
        extra = {"refused": self._refused, "connections": connections}
        logger.warning("too many connections, refused new ones", extra=extra)
        self._refused = 0
        self._report_due = asyncio.get_running_loop().call_later(REPORT_INTERVAL, self._report, connections)


def _no_trim(_: int) -> None:
    pass


# glibc keeps freed memory for itself while anything above it in the heap is in use (malloc_trim(3)).
_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", _no_trim)


def _raise_file_limit(needed: int) -> int:
    """Return how many files the process may open: `needed` if possible."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _is_less(soft, needed):
        with contextlib.suppress(OSError, ValueError):  # macOS has a lower limit than the hard one
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard if _is_less(hard, needed) else needed, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if _is_less(soft, needed) else needed


def _is_less(limit: int, needed: int) -> bool:
    return limit != resource.RLIM_INFINITY and limit < needed
