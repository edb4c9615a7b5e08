"""Hashing of passwords: bcrypt on a bounded number of cores, behind a queue that refuses what would come too late."""

import logging
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import bcrypt

from user_svc import metrics

CALL_SECONDS = 5.0
"""The deadline of a call that brings none, and the length of the queue in seconds."""

_CALIBRATION_COST = 8
_FASTEST = 0.4
"""Seconds that a hash of cost 14 takes on a fast core. No measurement: one that went wrong would be felt for ever."""
_MARGIN = 1.4
"""How much longer than the measured time a hash may take: in a flood the cores are shared with those who ask. With
less, some wait for seconds and are refused after all; the cores are full either way."""
_WEIGHT = 0.2
"""Of the newest measurement in the moving average."""
_MAX_CAPACITY = 256

_HASH = re.compile(rb"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")

T = TypeVar("T")

logger = logging.getLogger(__name__)


class OverloadedError(Exception):
    """A password that could not be hashed before its caller's deadline was refused."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the hash queue is full for {retry_after} s")
        self.retry_after = retry_after
        """Whole seconds, at least 1, until a call with the same deadline would be taken."""


class Ticket:
    """A place in the queue, for one job."""

    def __init__(self, submit: Callable[[Callable[[], Any]], "Future[Any]"]) -> None:
        self._submit = submit
        self.future: Future[Any] | None = None

    def submit(self, job: Callable[[], T]) -> "Future[T]":
        """Queue the job. Cancelling the future takes it out again unless it runs.

        The future raises OverloadedError when the cores came free too late after all.
        """
        self.future = self._submit(job)
        return self.future


class Hasher:
    """Makes and checks bcrypt hashes, `slots` at a time.

    A hash of cost n takes 2**n rounds. Every check of a password that is wrong takes as long as one of this hasher's
    cost, whatever the cost of the stored hash and whether there is one, so that time tells nothing about who exists.
    """

    def __init__(self, cost: int, slots: int) -> None:
        self._cost = cost
        self._slots = slots
        self._nobody = bcrypt.gensalt(cost) + b"." * 31
        self._pool = ThreadPoolExecutor(slots, thread_name_prefix="hash")
        self._lock = threading.Lock()
        self._pending = 0
        self._seconds = min(_calibrate() for _ in range(3)) * 2 ** (cost - _CALIBRATION_COST)
        self.capacity = min(_MAX_CAPACITY, math.ceil(slots * CALL_SECONDS / (_FASTEST * 2.0 ** (cost - 14))))
        """Passwords in the queue and on the cores at most: not even a fast core could hash more by their deadlines."""
        metrics.hash_queue_depth.set_function(lambda: max(0, self._pending - self._slots))

    @contextmanager
    def admission(self, remaining: float) -> Iterator[Ticket]:
        """Reserve a place in the queue for a call that ends in `remaining` seconds; never waits.

        Raises:
            OverloadedError: when the hash could not be done by then.
        """
        with self._lock:
            ahead = self._pending // self._slots
            # A core that is free takes a password whatever the estimate says, for only a hash can correct that.
            late = (ahead + 1) * self._seconds * _MARGIN - remaining if ahead else 0.0
            full = self._pending >= self.capacity
            if not full and late <= 0:
                self._pending += 1
        if full or late > 0:
            metrics.hash_rejected.inc()
            raise OverloadedError(max(1, math.ceil(late)))
        deadline = time.monotonic() + remaining
        ticket = Ticket(lambda job: self._submit((lambda: self._in_time(job, deadline)) if ahead else job))
        try:
            yield ticket
        finally:
            if ticket.future is None:
                self._leave()
            else:
                ticket.future.cancel()

    def hash(self, password: str) -> str:
        """Return a new hash; takes a core for its whole time."""
        started = time.perf_counter()
        hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(self._cost))
        self._observe(time.perf_counter() - started, full=True)
        return hashed.decode()

    def check(self, password: str, stored: str | None) -> bool:
        """Tell whether the password fits the stored hash; None, or no bcrypt hash, fits nothing."""
        secret = password.encode()
        hashed = stored.encode() if stored else self._nobody
        cost = cost_of(hashed)
        if cost is None:
            hashed, cost = self._nobody, self._cost
        started = time.perf_counter()
        fits = bcrypt.checkpw(secret, hashed) and hashed is not self._nobody
        if not fits:
            # A hash of each cost from the stored one's up to today's adds up with the check to one of today's.
            for step in range(cost, self._cost):
                bcrypt.hashpw(secret, bcrypt.gensalt(step))
        self._observe(time.perf_counter() - started, full=not fits or cost >= self._cost)
        return fits

    def is_outdated(self, stored: str) -> bool:
        """Tell whether a hash was made at a lower cost than today's."""
        cost = cost_of(stored.encode())
        return cost is not None and cost < self._cost

    def when_idle(self, job: Callable[[], object]) -> None:
        """Run a job on a core if nothing waits for one now; otherwise drop it."""
        with self._lock:
            if self._pending:
                return
            self._pending += 1
        self._submit(job).add_done_callback(_log_failure)

    def close(self) -> None:
        """Drop what waits and let the hashes that run finish."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _in_time(self, job: Callable[[], T], deadline: float) -> T:
        if time.monotonic() + self._seconds > deadline:
            metrics.hash_rejected.inc()
            raise OverloadedError(1)
        return job()

    def _submit(self, job: Callable[[], T]) -> "Future[T]":
        future = self._pool.submit(job)
        future.add_done_callback(lambda _: self._leave())
        return future

    def _leave(self) -> None:
        with self._lock:
            self._pending -= 1

    def _observe(self, seconds: float, *, full: bool) -> None:
        metrics.hash_seconds.observe(seconds)
        if full:
            self._seconds += _WEIGHT * (seconds - self._seconds)


def _calibrate() -> float:
    """Measure one hash, in seconds; whatever else runs on the core can only make it longer."""
    started = time.perf_counter()
    bcrypt.hashpw(b"", bcrypt.gensalt(_CALIBRATION_COST))
    return time.perf_counter() - started


def cost_of(hashed: bytes) -> int | None:
    """Return the cost of a bcrypt hash, or None when it is not one that can be checked."""
    parts = _HASH.fullmatch(hashed)
    return int(parts[1]) if parts else None


def _log_failure(job: "Future[object]") -> None:
    if not job.cancelled() and (error := job.exception()) is not None:
        logger.warning("a stored hash was not renewed", extra={"cause": type(error).__name__})
