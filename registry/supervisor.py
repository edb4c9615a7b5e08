"""The loop that keeps a session with etcd going, whatever happens to etcd."""

import logging
import random
import threading
import time
from abc import ABC, abstractmethod
from queue import Empty, SimpleQueue

from registry.etcd import Cause, Client, EtcdConfig, EtcdError, Watch, WatchEvent

logger = logging.getLogger(__name__)

_BACKOFF_BASE = 0.05
_BACKOFF_CAP = 1.0


class Stopped(Exception):  # noqa: N818  # not an error
    """Ends a session because stop() was called."""


class Supervisor(ABC):
    """Runs sessions with etcd on a thread of its own, the only one that uses the client.

    A session that fails is closed, and another begins with the next member. After a round of all members there is a
    pause with full jitter, https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/, of up to 1 s.
    """

    def __init__(self, name: str, etcd: EtcdConfig) -> None:
        self._name = name
        self._etcd = etcd
        self._endpoints = random.sample(etcd.endpoints, len(etcd.endpoints))  # spreads clients over the members
        self._queue: SimpleQueue[tuple[Watch, tuple[WatchEvent, ...] | EtcdError] | None] = SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._logged: set[Cause] = set()

    def _stop(self, timeout: float) -> None:
        self._stopping.set()
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout)

    @abstractmethod
    def _session(self, client: Client) -> None:
        """Use `client` until something raises EtcdError or Stopped."""

    def _tick(self) -> None:  # noqa: B027  # only one kind of session has something to do
        """Called before each attempt."""

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                with Client(self._etcd, self._endpoints[0]) as client:
                    self._session(client)
            except Stopped:
                return
            except EtcdError as error:
                self._log(error)
            self._tick()
            if time.monotonic() - began > _BACKOFF_CAP * 5:
                failures = 0
            failures += 1
            self._endpoints.append(self._endpoints.pop(0))
            rounds, rest = divmod(failures, len(self._endpoints))
            if rest == 0:
                cap = min(_BACKOFF_CAP, _BACKOFF_BASE * 2 ** min(rounds, 10))
                self._stopping.wait(random.uniform(0, cap))  # noqa: S311

    def _next(self, watch: Watch, until: float) -> tuple[WatchEvent, ...] | None:
        """Wait for what `watch` brings; None at monotonic time `until`.

        Raises:
            Stopped: when stop() was called.
            EtcdError: when the watch has ended.
        """
        while True:
            if self._stopping.is_set():
                raise Stopped
            try:
                item = self._queue.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                return None
            if item is None or item[0] is not watch:
                continue
            if isinstance(item[1], EtcdError):
                raise item[1]
            return item[1]

    def _feed(self, watch: Watch, item: tuple[WatchEvent, ...] | EtcdError) -> None:
        self._queue.put((watch, item))

    def _log(self, error: EtcdError) -> None:
        if error.cause not in self._logged:
            self._logged.add(error.cause)
            logger.warning("%s: %s", self._name, error)

    def _works(self) -> None:
        if self._logged:
            self._logged.clear()
            logger.info("%s: etcd works again", self._name)
