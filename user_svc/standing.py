"""Whose an attempt seems to be, before its password is checked: what seems to be a guess gives way to others."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto

DOUBTED = 3
"""Wrong passwords after which a try seems to be a guess: others mistype twice."""


class Standing(Enum):
    """How an attempt is queued for its hash."""

    OWNER = auto()
    """A device token of the user came with it."""
    USUAL = auto()
    DOUBTFUL = auto()
    """DOUBTED wrong passwords are counted for the name, or another attempt for it or from the device is under way."""


class UnderWay:
    """The rows of login_failures for which this process checks passwords now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tries: Counter[bytes] = Counter()

    def has(self, row: bytes) -> bool:
        """Whether a try for the row is under way."""
        return row in self._tries

    @contextmanager
    def enter(self, row: bytes) -> Iterator[bool]:
        """Return whether no other try for the row is under way."""
        with self._lock:
            self._tries[row] += 1
            alone = self._tries[row] == 1
        try:
            yield alone
        finally:
            with self._lock:
                self._tries[row] -= 1
                if not self._tries[row]:
                    del self._tries[row]
