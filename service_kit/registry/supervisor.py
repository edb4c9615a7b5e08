"""The loop that keeps a session with etcd going, whatever happens to etcd."""

import logging
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

from prometheus_client import Gauge

from service_kit.registry.etcd import Cause, Client, EtcdConfig, EtcdError, Watch, WatchAnswer
from service_kit.threads import EssentialThread

_auth_off = Gauge(
    "registry_auth_off", "1 while etcd's authentication is off although ETCD_USERNAME is set, otherwise 0."
)

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Stopped(Exception):  # noqa: N818  # nothing is wrong
    """Ends a session because stop() was called."""


class Backoff:
    """Pauses with full jitter that grow while they are asked for, and start over after a quiet time.

    See https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/.
    """

    BASE = 0.05
    CAP = 1.0
    QUIET = 5.0

    def __init__(self) -> None:
        self._attempts = 0
        self._last = float("-inf")

    def next(self) -> float:
        """Return the seconds to wait before the next attempt, 0 to CAP."""
        now = time.monotonic()
        self._attempts = self._attempts + 1 if now - self._last < self.QUIET else 0
        self._last = now
        return random.uniform(0, min(self.CAP, self.BASE * 2 ** min(self._attempts, 10)))  # noqa: S311


class Supervisor(ABC):
    """Runs sessions with etcd on a thread of its own, the only one that uses the client.

    A session that fails in any way is closed, and the next begins with the next member of etcd; after each round of
    all members there is a pause. Watches only feed the thread's queue.
    """

    def __init__(self, name: str, etcd: EtcdConfig) -> None:
        self._name = name
        self._etcd = etcd
        self._endpoints = random.sample(etcd.endpoints, len(etcd.endpoints))  # spreads clients over the members
        self._queue: SimpleQueue[tuple[Watch, WatchAnswer | EtcdError] | None] = SimpleQueue()
        self._stopping = threading.Event()
        self._give_up_at = float("inf")
        self._revision = 0
        self._failing = False
        self._complaints: set[Cause | None] = set()
        self._auth_is_off = False
        self.thread = EssentialThread(name, self._run)

    def start(self) -> None:
        """Begin, in the background: returns at once, whether etcd is there or not.

        Raises:
            RuntimeError: when called a second time.
        """
        self.thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """End what start() began; returns after `timeout` seconds at the latest, whether etcd answers or not."""
        self._give_up_at = time.monotonic() + timeout
        self._stopping.set()
        self._queue.put(None)
        if self.thread.is_alive():
            self.thread.join(timeout)

    @abstractmethod
    def _session(self, client: Client) -> None:
        """Use `client` until EtcdError or Stopped is raised."""

    @abstractmethod
    def _leave(self, client: Client) -> None:
        """Release what is held in etcd, after stop()."""

    @abstractmethod
    def _has_cleanup(self) -> bool:
        """Whether anything may be left in etcd that _leave() would give back."""

    @abstractmethod
    def _check(self) -> None:
        """Check what changes with time. Called between sessions."""

    def _run(self) -> None:
        backoff = Backoff()
        attempts = 0
        while not self._stopping.is_set() or (self._has_cleanup() and time.monotonic() < self._give_up_at):
            endpoint = self._endpoints[attempts % len(self._endpoints)]
            try:
                with Client(self._etcd, endpoint) as client:
                    self._note_auth(client)
                    self._use(client)
                    return
            except EtcdError as error:
                self._complain(error, endpoint)
            except Exception:
                if None not in self._complaints:
                    self._complaints.add(None)
                    logger.exception("%s: unexpected error, restarting the session", self._name)
            self._check()
            attempts += 1
            if attempts % len(self._endpoints) == 0:
                self._pause(backoff.next())
        if self._has_cleanup():
            logger.warning("%s: stopped without an answer from etcd; the key goes when its lease runs out", self._name)

    def _use(self, client: Client) -> None:
        """Use `client` until stop() was called and nothing is left in etcd."""
        self._revision = 0
        try:
            if not self._stopping.is_set():
                self._session(client)
        except Stopped:
            pass
        self._leave(client)

    def _pause(self, seconds: float) -> None:
        if self._stopping.is_set():
            time.sleep(max(0.0, min(seconds, self._give_up_at - time.monotonic())))
        else:
            self._stopping.wait(seconds)

    def _follow(self, client: Client, key: str, *, prefix: bool = False) -> Watch:
        """Watch from the revision after the last one that was read."""
        watch = client.watch(key, self._feed, start_revision=self._revision + 1, prefix=prefix)
        if self._next(watch, time.monotonic() + self._etcd.timeout) is None:
            raise EtcdError(Cause.UNREACHABLE, "no answer to a watch")
        if self._complaints:
            logger.info("%s: etcd works again", self._name)
        self._complaints.clear()
        self._failing = False
        return watch

    def _feed(self, watch: Watch, answer: WatchAnswer | EtcdError) -> None:
        self._queue.put((watch, answer))

    def _next(self, watch: Watch, until: float) -> WatchAnswer | None:
        """Wait for a response of `watch`, or for the monotonic time `until`. Events that were read already are skipped.

        Raises:
            Stopped: when stop() was called.
            EtcdError: when the watch has ended.
        """
        while not self._stopping.is_set():
            try:
                item = self._queue.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                return None
            if item is None or item[0] is not watch:
                continue
            answer = item[1]
            if isinstance(answer, EtcdError):
                raise answer
            news = tuple(event for event in answer.events if event.entry.revision > self._revision)
            return WatchAnswer(news, answer.received_at)
        raise Stopped

    def _has_read(self, revision: int) -> None:
        """Remember the revision of the last read.

        Raises:
            EtcdError: when it lies before an earlier one. This is another etcd, or a wiped one, and a watch from the
                old one's revision would never deliver an event.
        """
        if revision < self._revision:
            raise EtcdError(Cause.STREAM, f"revision {revision} after {self._revision}")
        self._revision = revision

    def _tell(self, hook: Callable[[T], None] | None, news: T) -> None:
        if hook is not None:
            try:
                hook(news)
            except Exception:
                logger.exception("%s: a hook failed", self._name)

    def _complain(self, error: EtcdError, endpoint: str) -> None:
        # An expired token is routine: it is logged only if re-authentication fails.
        quiet = error.cause.routine and not self._failing
        self._failing = True
        if error.cause not in self._complaints and not quiet:
            self._complaints.add(error.cause)
            logger.warning("%s: %s (%s)", self._name, error, endpoint)

    def _note_auth(self, client: Client) -> None:
        if client.auth_is_off == self._auth_is_off:
            return
        self._auth_is_off = client.auth_is_off
        _auth_off.set(client.auth_is_off)
        if client.auth_is_off:
            logger.warning("%s: etcd's authentication is off: enable it, or unset ETCD_USERNAME", self._name)
        else:
            logger.info("%s: etcd's authentication is on", self._name)
