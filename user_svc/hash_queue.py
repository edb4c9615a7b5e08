"""The queue of passwords to hash: bounded, first come first served, refusing late calls at once."""

import heapq
import logging
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import TypeVar

from service_kit.telemetry import tracing
from user_svc import metrics
from user_svc.passwords import Hasher

CALL_SECONDS = 5.0
"""The deadline of a call that brings none, and the length of the queue in seconds."""

_NO_DEADLINE = 86400.0
"""Seconds; gRPC reports the missing deadline of a call as centuries."""
_FAST_CORE = 0.4
"""Seconds that a hash of cost 14 takes on a fast core. Not measured: a wrong figure would have a lasting effect."""
_MAX_CAPACITY = 256
_TIMES_FASTEST, _TIMES_AVERAGE = 2.0, 1.5
"""How long a hash is planned to take. A flood shares the cores with the clients and the gateway that send it, so that
hashes become slower after their admission: in floods of 150 logins on 2 cores by 1.7, and with two other processes that
used all cores already by 1.4."""
_WEIGHT = 0.2
"""Of the newest measurement in the moving average."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class OverloadedError(Exception):
    """A password was refused because it could not be hashed before the call's deadline."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the hash queue is full for {retry_after} s")
        self.retry_after = retry_after
        """Whole seconds, at least 1, until a call with the same deadline would be admitted."""


class _Estimate:
    """The seconds that a new hash takes: at least, and as planned for hashes that are admitted now."""

    def __init__(self, seconds: float) -> None:
        self.fastest = seconds
        self._average = seconds

    @property
    def planned(self) -> float:
        return max(_TIMES_FASTEST * self.fastest, _TIMES_AVERAGE * self._average)

    def observe(self, seconds: float) -> None:
        self.fastest = min(self.fastest, seconds)
        self._average += _WEIGHT * (seconds - self._average)


class _Cores:
    """A semaphore that serves in the order of arrival; threading.Semaphore lets newcomers pass threads that wait."""

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self._free = count
        self._waiting: deque[threading.Event] = deque()

    def acquire(self, turn: threading.Event) -> bool:
        """Set `turn` once a core is free for it; return whether one was free at once."""
        with self._lock:
            if not self._free:
                self._waiting.append(turn)
                return False
            self._free -= 1
        turn.set()
        return True

    def release(self, turn: threading.Event) -> None:
        """Give back the core, or leave the queue when it has none yet."""
        with self._lock:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif self._waiting:
                self._waiting.popleft().set()
            else:
                self._free += 1


class Admission:
    """A reserved place in the queue, for as much work as `work` new hashes are.

    Its hashes run one after the other, on one core that it holds from the first one until the admission ends. wait(),
    check() and hash() wait for the core and raise

        TimeoutError: when the call's deadline passed.
        CancelledError: when the client cancelled the call.
        OverloadedError: when the core became free so late that its work could not be done by the deadline.
    """

    def __init__(
        self,
        hasher: Hasher,
        cores: _Cores,
        threads: ThreadPoolExecutor,
        estimate: _Estimate,
        clock: Callable[[], float],
        *,
        work: float,
        deadline: float,
    ) -> None:
        self.work = work
        self.deadline = deadline
        self._hasher = hasher
        self._cores = cores
        self._threads = threads
        self._estimate = estimate
        self._clock = clock
        self._turn = threading.Event()
        self._queued = False
        self._cancelled = False

    def wait(self) -> None:
        """Wait for the core, and for nothing more."""
        if not self._queued:
            with tracing.start_as_current_span("password.wait"):
                self._wait_for_core()

    def check(self, password: str, stored: str | None) -> bool:
        """Tell whether the password matches the stored hash, as Hasher.check does."""
        (matches, cost), seconds = self._on_core(lambda: self._hasher.check(password, stored))
        self._estimate.observe(seconds / self._hasher.share(cost))
        self._raise_if_cancelled()
        return matches

    def hash(self, password: str) -> str:
        """Return a new hash."""
        hashed, seconds = self._on_core(lambda: self._hasher.hash(password))
        self._estimate.observe(seconds)
        self._raise_if_cancelled()
        return hashed

    def cancel(self) -> None:
        """Give up the place in the queue; a hash that runs is finished, and its result dropped."""
        self._cancelled = True
        self._turn.set()

    def end(self) -> None:
        """Let the next one have the core."""
        if self._queued:
            self._cores.release(self._turn)

    def _on_core(self, job: Callable[[], T]) -> tuple[T, float]:
        self.wait()
        with tracing.start_as_current_span("password.hash"):
            started = self._clock()
            result = self._threads.submit(job).result()
            seconds = self._clock() - started
        metrics.hash_seconds.observe(seconds)
        return result, seconds

    def _wait_for_core(self) -> None:
        self._queued = True
        at_once = self._cores.acquire(self._turn)
        if not at_once:
            with metrics.hash_queue_depth.track_inprogress():
                in_time = self._turn.wait(max(0.0, self.deadline - self._clock()))
            if not in_time:
                raise TimeoutError
        self._raise_if_cancelled()
        # A core that was free at once hashes whatever the estimate says, for only a hash can correct that.
        if not at_once and self._clock() + self.work * self._estimate.fastest > self.deadline:
            metrics.hash_rejected.inc()
            raise OverloadedError(1)

    def _raise_if_cancelled(self) -> None:
        if self._cancelled:  # as gRPC also does to a call whose deadline passed
            raise TimeoutError if self._clock() >= self.deadline else CancelledError


class HashQueue:
    """Hashes and checks passwords, `slots` at a time."""

    def __init__(
        self,
        hasher: Hasher,
        slots: int,
        seconds: float,
        *,
        niceness: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start empty.

        Args:
            hasher: does the work.
            slots: how many hashes run at a time.
            seconds: how long a new hash takes, as Hasher.calibrate measures it.
            niceness: added to that of the process while it hashes. Linux only: elsewhere it is ignored.
            clock: returns seconds, like time.monotonic.
        """
        self._hasher = hasher
        self._slots = slots
        self._clock = clock
        self._cores = _Cores(slots)
        self._threads = ThreadPoolExecutor(slots, "hash", _raise_niceness, (niceness,))
        self._estimate = _Estimate(seconds)
        self._lock = threading.Lock()
        self._reserved: dict[Admission, None] = {}  # in the order of their arrival
        self._renewal: threading.Thread | None = None
        self.capacity = min(_MAX_CAPACITY, math.ceil(slots * CALL_SECONDS / _FAST_CORE * hasher.share(14)))
        """Admissions at a time: not even a fast core could do more hashes by their deadlines."""

    def require_room(self, time_remaining: float | None, *, hashes: int = 0, checks: int = 0) -> None:
        """Refuse at once what admit() would refuse now: for calls that have to wait for something else first.

        Raises:
            OverloadedError: as admit() does.
        """
        self._require(self._admission(time_remaining, hashes, checks), reserve=False)

    @contextmanager
    def admit(
        self,
        time_remaining: float | None,
        on_cancel: Callable[[Callable[[], None]], bool],
        *,
        hashes: int = 0,
        checks: int = 0,
    ) -> Iterator[Admission]:
        """Reserve a place, or refuse at once.

        Wait for nothing but hashes meanwhile: others are refused because of what is reserved.

        Args:
            time_remaining: seconds until the call's deadline, None when it has none (ServicerContext.time_remaining).
            on_cancel: has a function called when the call is cancelled, and returns False when that has happened
                already (ServicerContext.add_callback).
            hashes: how many new hashes the admission will ask for.
            checks: how many checks, each reckoned as a refusal.

        Raises:
            OverloadedError: when they could not be done by the deadline.
            CancelledError: when the call is cancelled already.
        """
        admission = self._admission(time_remaining, hashes, checks)
        self._require(admission, reserve=True)
        try:
            if not on_cancel(admission.cancel):
                raise CancelledError
            yield admission
        finally:
            self._leave(admission)

    def renew(self, password: str, stored: str, store: Callable[[str], object]) -> None:
        """Replace a stored hash of another cost in the background if no other hash is to be done now.

        `store` is called with the new hash. A renewal that is dropped is due again at the next login.
        """
        if not self._hasher.is_outdated(stored):
            return
        admission = self._admission(None, hashes=1)
        with self._lock:
            if self._reserved or (self._renewal is not None and self._renewal.is_alive()):
                return
            self._reserved[admission] = None
            arguments = (self._renew, admission, password, store)
            # A daemon, so that a database that hangs does not keep the process from its end.
            self._renewal = threading.Thread(target=copy_context().run, args=arguments, name="renewal", daemon=True)
            self._renewal.start()

    def close(self, timeout: float) -> None:
        """Wait for a renewal that runs, `timeout` seconds at most; nothing can be hashed afterwards."""
        if self._renewal is not None:
            self._renewal.join(timeout)
        self._threads.shutdown(wait=False)

    def _renew(self, admission: Admission, password: str, store: Callable[[str], object]) -> None:
        try:
            try:
                hashed = admission.hash(password)
            finally:
                self._leave(admission)
            store(hashed)
        except Exception as error:  # noqa: BLE001  # its text may hold the hash
            logger.warning("a stored hash was not renewed", extra={"cause": type(error).__name__})

    def _admission(self, time_remaining: float | None, hashes: int = 0, checks: int = 0) -> Admission:
        if time_remaining is None or time_remaining > _NO_DEADLINE:
            time_remaining = CALL_SECONDS
        return Admission(
            self._hasher,
            self._cores,
            self._threads,
            self._estimate,
            self._clock,
            work=hashes + checks * self._hasher.share(self._hasher.refusal_cost),
            deadline=self._clock() + time_remaining,
        )

    def _require(self, admission: Admission, *, reserve: bool) -> None:
        with self._lock:
            refusal = self._refusal(admission)
            if reserve and not refusal:
                self._reserved[admission] = None
        if refusal:
            metrics.hash_rejected.inc()
            raise refusal

    def _refusal(self, admission: Admission) -> OverloadedError | None:
        """Return why the admission cannot be had now, None when it can. The lock must be held."""
        free_at = [0.0] * self._slots
        for before in self._reserved:
            heapq.heapreplace(free_at, free_at[0] + before.work)
        late = 0.0
        if free_at[0]:
            ready_at = self._clock() + (free_at[0] + admission.work) * self._estimate.planned
            late = ready_at - admission.deadline
        if late <= 0 and len(self._reserved) < self.capacity:
            return None
        return OverloadedError(max(1, math.ceil(late)))

    def _leave(self, admission: Admission) -> None:
        admission.end()
        with self._lock:
            del self._reserved[admission]


def _raise_niceness(by: int) -> None:
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with suppress(OSError):  # a seccomp profile may forbid it: hashes then share the cores evenly
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + by)
