"""Follows the instances of one service."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from service_kit.registry.etcd import Client, Entry, EtcdConfig
from service_kit.registry.instance import DEFAULT_PREFIX, Instance, decode_at, service_prefix
from service_kit.registry.supervisor import Supervisor

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The instances of a service as they were known at one time."""

    instances: tuple[Instance, ...]
    """Sorted by address."""
    confirmed_at: float
    """When etcd last confirmed it, by time.monotonic(): at a list or an event."""
    skipped: int
    """How many records under the service's prefix cannot be used."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses of the instances, each `ip:port`, sorted."""
        return tuple(instance.address for instance in self.instances)

    @property
    def age(self) -> float:
        """Seconds since etcd last confirmed it."""
        return time.monotonic() - self.confirmed_at


class Resolver(Supervisor):
    """Follows the instances of a service, and never gives up doing so.

    New instances show at once. One that vanished from etcd shows for `linger` seconds more, since etcd may be what
    failed and not the instance, and the last ones show until there are others: it is for health checks to keep
    traffic off what is really gone.
    """

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
        """Prepare to follow `service`, listing its instances every `relist` seconds beside watching them.

        `on_change` hears the first snapshot and each one whose instances or skipped records differ from those before.
        It is called from the resolver's thread and must return soon. What came by an event has the time at which that
        was received as its `confirmed_at`, so that the way from there to first use can be measured.
        """
        super().__init__("resolver", etcd)
        self._prefix = service_prefix(prefix, service)
        self._linger = linger
        self._relist = relist
        self._on_change = on_change
        self._records: dict[str, Instance | None] = {}  # by key; None where it cannot be used
        self._shown: dict[str, Instance] = {}  # by address
        self._vanished_at: dict[str, float] = {}  # by address
        self._snapshot: Snapshot | None = None

    @property
    def snapshot(self) -> Snapshot | None:
        """The newest snapshot; None until etcd has answered for the first time."""
        return self._snapshot

    def _session(self, client: Client) -> None:
        self._list(client)
        watch = self._follow(client, self._prefix, prefix=True)
        relist_at = time.monotonic() + self._relist
        while True:
            answer = self._next(watch, min(relist_at, self._linger_ends()))
            if answer is None:
                self._list(client)
                relist_at = time.monotonic() + self._relist
            elif answer.events:
                for event in answer.events:
                    if event.deleted:
                        self._records.pop(event.entry.key, None)
                    else:
                        self._records[event.entry.key] = self._decoded(event.entry)
                self._publish(answer.received_at)

    def _leave(self, client: Client) -> None:
        pass

    def _has_cleanup(self) -> bool:
        return False

    def _check(self) -> None:
        pass

    def _list(self, client: Client) -> None:
        asked_at = time.monotonic()
        entries, revision = client.list(self._prefix)
        self._has_read(revision)
        self._records = {entry.key: self._decoded(entry) for entry in entries}
        self._forget(asked_at)
        self._publish(asked_at)

    def _decoded(self, entry: Entry) -> Instance | None:
        try:
            return decode_at(entry.key, entry.value, entry.lease)
        except ValueError as problem:
            if self._records.get(entry.key, True):
                logger.warning("resolver: skipping the record at %r: %s", entry.key, problem)
            return None

    def _linger_ends(self) -> float:
        """When the next of the vanished is to be forgotten, by time.monotonic()."""
        if not any(self._records.values()):
            return float("inf")
        return min(self._vanished_at.values(), default=float("inf")) + self._linger

    def _forget(self, now: float) -> None:
        """Drop instances that vanished long ago. Only after a list: an unavailable etcd removes nothing."""
        if any(self._records.values()):
            for address, vanished_at in tuple(self._vanished_at.items()):
                if now - vanished_at >= self._linger:
                    del self._vanished_at[address], self._shown[address]

    def _publish(self, confirmed_at: float) -> None:
        live = {instance.address: instance for instance in self._records.values() if instance is not None}
        for address in self._shown.keys() - live.keys():
            self._vanished_at.setdefault(address, confirmed_at)
        for address in live:
            self._vanished_at.pop(address, None)
        self._shown |= live
        before = self._snapshot
        self._snapshot = Snapshot(
            tuple(self._shown[address] for address in sorted(self._shown)),
            confirmed_at,
            sum(instance is None for instance in self._records.values()),
        )
        if before is None or (before.instances, before.skipped) != (self._snapshot.instances, self._snapshot.skipped):
            self._tell(self._on_change, self._snapshot)
