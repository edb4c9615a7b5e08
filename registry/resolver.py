"""Follows the instances of one service."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from registry.etcd import Client, EtcdConfig
from registry.instance import DEFAULT_PREFIX, Instance, service_prefix
from registry.supervisor import Supervisor


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The instances of a service as they were known at one time."""

    instances: tuple[Instance, ...]
    """Sorted by address."""
    confirmed_at: float
    """When etcd last confirmed it, by time.monotonic()."""
    skipped: int = 0
    """How many records under the service's prefix could not be used."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses of the instances, each `ip:port`."""
        return tuple(instance.address for instance in self.instances)

    @property
    def age(self) -> float:
        """Seconds since etcd last confirmed it."""
        return time.monotonic() - self.confirmed_at


class Resolver(Supervisor):
    """Follows the instances of one service and never gives up doing so."""

    def __init__(
        self,
        etcd: EtcdConfig,
        service: str,
        *,
        prefix: str = DEFAULT_PREFIX,
        linger: float = 15.0,
        relist: float = 5.0,
        on_change: Callable[[Snapshot], None] | None = None,
    ) -> None:
        super().__init__("resolver", etcd)
        self._prefix = service_prefix(prefix, service)
        self._linger = linger
        self._relist = relist
        self._on_change = on_change or (lambda _: None)
        self._snapshot: Snapshot | None = None

    @property
    def snapshot(self) -> Snapshot | None:
        """What is known now; None until etcd has answered once."""
        return self._snapshot

    def start(self) -> None:
        """Begin to follow, in the background."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Stop following; waits at most `timeout` seconds for the thread."""
        self._stop(timeout)

    def _session(self, client: Client) -> None:
        revision = self._list(client)
        watch = client.watch(self._prefix, self._feed, start_revision=revision + 1, prefix=True)
        while True:
            if self._next(watch, time.monotonic() + self._relist) != ():
                self._list(client)

    def _list(self, client: Client) -> int:
        now = time.monotonic()
        entries, revision = client.list(self._prefix)
        found, skipped = {}, 0
        for entry in entries:
            try:
                instance = Instance.decode(entry.value)
            except (ValueError, KeyError, TypeError):
                skipped += 1
            else:
                found[instance.address] = instance
        before = self._snapshot
        self._snapshot = Snapshot(tuple(found[address] for address in sorted(found)), now, skipped)
        self._works()
        if before is None or before.instances != self._snapshot.instances:
            self._on_change(self._snapshot)
        return revision
