"""How many connections there may be at a time."""

import asyncio
import contextlib
import logging
import os
import resource

from gateway_svc import metrics

RESERVE = 64
"""Files left for what is no client's connection: the user services, etcd, the admin port, accepting and refusing."""
REPORT_INTERVAL = 60.0
"""Seconds between two log lines on refused connections."""

logger = logging.getLogger(__name__)


class ConnectionLimit:
    """At most so many connections as were wanted, and fewer when the process may not open so many files."""

    def __init__(self, wanted: int) -> None:
        """Raise the soft limit of open files towards the hard one as far as `wanted` connections need it."""
        self.limit = min(wanted, _files(wanted))
        if self.limit < wanted:
            logger.warning(
                "MAX_CONNECTIONS is above what the limit of open files (ulimit -n) allows",
                extra={"max_connections": wanted, "limit": self.limit},
            )
        self._refused = 0
        self._report_due: asyncio.TimerHandle | None = None

    def admits(self, connections: int) -> bool:
        """Tell whether there may be one more beside `connections`; a refusal is counted and logged."""
        if connections < self.limit:
            return True
        metrics.connection_refused()
        self._refused += 1
        if self._report_due is None:
            self._report()
        return False

    def _report(self) -> None:
        self._report_due = None
        if not self._refused:
            return
        logger.warning("too many connections, refused new ones", extra={"refused": self._refused, "limit": self.limit})
        self._refused = 0
        self._report_due = asyncio.get_running_loop().call_later(REPORT_INTERVAL, self._report)


def _files(wanted: int) -> int:
    """Return how many connections the process may have, at least 1."""
    in_use = len(os.listdir("/dev/fd"))  # noqa: PTH208
    needed = in_use + wanted + RESERVE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _is_less(soft, needed):
        with contextlib.suppress(OSError, ValueError):  # macOS has a lower limit than the hard one
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard if _is_less(hard, needed) else needed, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if not _is_less(soft, needed):
        return wanted
    return max(1, soft - in_use - min(RESERVE, soft // 4))


def _is_less(limit: int, needed: int) -> bool:
    return limit != resource.RLIM_INFINITY and limit < needed
