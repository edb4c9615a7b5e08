"""A bound on log lines that clients can cause."""

import atexit
import logging
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Hashable

LIMIT = 50
"""Lines for each status and second at most."""
SUMMARY_DELAY = 1.0
"""Seconds after which suppressed lines are reported."""


class LineLimiter:
    """Admits LIMIT lines of each status in any second, and logs how many more there were.

    That is a line `{name} lines suppressed` for each status, after SUMMARY_DELAY or when the process ends. Any thread
    may ask.
    """

    def __init__(self, logger: logging.Logger, name: str) -> None:
        self._logger = logger
        self._name = name
        self._lock = threading.Lock()
        self._admitted: defaultdict[Hashable, deque[float]] = defaultdict(lambda: deque(maxlen=LIMIT))
        self._suppressed: Counter[Hashable] = Counter()
        atexit.register(self._flush)

    def admit(self, status: Hashable) -> bool:
        """Tell whether one more line of `status` may be written; it is counted otherwise."""
        now = time.monotonic()
        with self._lock:
            admitted = self._admitted[status]
            if len(admitted) < LIMIT or now - admitted[0] >= 1:
                admitted.append(now)
                return True
            if not self._suppressed:
                timer = threading.Timer(SUMMARY_DELAY, self._flush)
                timer.daemon = True
                timer.start()
            self._suppressed[status] += 1
            return False

    def _flush(self) -> None:
        with self._lock:
            suppressed, self._suppressed = self._suppressed, Counter()
        for status, count in suppressed.items():
            self._logger.warning("%s lines suppressed", self._name, extra={"status": status, "count": count})
