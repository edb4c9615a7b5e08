"""Until when a call may touch the database."""

import time
from collections.abc import Callable
from concurrent.futures import CancelledError

import grpc

from user_svc.dsn.parameters import TIMEOUT

CALL_SECONDS = 5.0
"""For a call that brings no deadline, and at most."""


def _is_active() -> bool:
    return True


class Deadline:
    """The end of a call's time. A statement begins only when it cannot outlast that, and while its caller waits."""

    def __init__(self, seconds: float, is_active: Callable[[], bool] = _is_active) -> None:
        self._ends = time.monotonic() + seconds
        self._is_active = is_active

    @classmethod
    def of(cls, context: grpc.ServicerContext, at_most: float = CALL_SECONDS) -> "Deadline":
        """Return the deadline of a call, at most `at_most` seconds away."""
        remaining = context.time_remaining()
        return cls(at_most if remaining is None else min(remaining, at_most), context.is_active)

    @property
    def patience(self) -> float:
        """The seconds in which a statement may yet begin."""
        return self._ends - time.monotonic() - TIMEOUT

    def check(self) -> None:
        """Raise TimeoutError when no statement may begin, CancelledError when the client cancelled the call."""
        if self.patience <= 0:
            raise TimeoutError
        if not self._is_active():
            raise CancelledError
