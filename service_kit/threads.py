"""Threads that a process cannot do without."""

import logging
import threading
from collections.abc import Callable, Iterable

from prometheus_client import Gauge

_alive = Gauge("thread_alive", "1 while an essential thread is alive, 0 after it died.", ["thread"])

logger = logging.getLogger(__name__)


class EssentialThread(threading.Thread):
    """A thread that ends only on request: when its function raises, the process needs a restart.

    That is logged and shown by a metric at once, and found by died(), so that liveness fails.
    """

    def __init__(self, name: str, function: Callable[[], object]) -> None:
        super().__init__(target=function, name=name, daemon=True)
        self.died = False
        _alive.labels(name).set(1)

    def run(self) -> None:
        """Call the function."""
        try:
            super().run()
        except BaseException:  # SystemExit as well, which threading ignores
            self.died = True
            _alive.labels(self.name).set(0)
            logger.critical("the thread %r has died, restart the process", self.name, exc_info=True)


def died(threads: Iterable[EssentialThread]) -> str | None:
    """Return an error message that names a dead thread, None when none has."""
    return next((f"the thread {thread.name!r} has died" for thread in threads if thread.died), None)
