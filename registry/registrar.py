"""Keeps one instance registered under a lease."""

import secrets
import time
from collections.abc import Callable

from registry.etcd import Client, EtcdConfig, EtcdError
from registry.instance import DEFAULT_PREFIX, Instance, key
from registry.supervisor import Stopped, Supervisor


class Registrar(Supervisor):
    """Registers an instance and never gives up doing so."""

    def __init__(
        self,
        etcd: EtcdConfig,
        service: str,
        instance: Instance,
        *,
        prefix: str = DEFAULT_PREFIX,
        ttl: int = 10,
        on_change: Callable[[bool], None] | None = None,
        on_registration: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__("registrar", etcd)
        self._key = key(prefix, service, instance.address)
        self._value = instance.encode()
        self._ttl = ttl
        self._on_change = on_change or (lambda _: None)
        self._on_registration = on_registration or (lambda _: None)
        self._lease = 0
        self._held_until = float("-inf")
        self._was_held = False

    @property
    def held(self) -> bool:
        """Whether the key is there and its lease cannot have run out yet."""
        return time.monotonic() < self._held_until

    def start(self) -> None:
        """Begin to register, in the background."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Revoke the lease, which removes the key; gives up after `timeout` seconds."""
        self._stop(timeout)

    def _session(self, client: Client) -> None:
        try:
            revision = self._register(client)
            watch = client.watch(self._key, self._feed, start_revision=revision + 1)
            while True:
                if self._next(watch, time.monotonic() + self._ttl / 3) != ():
                    self._register(client)
        except Stopped:
            try:
                client.revoke(self._lease)
            except EtcdError as error:
                self._log(error)
            raise

    def _tick(self) -> None:
        if self.held != self._was_held:
            self._was_held = self.held
            self._on_change(self._was_held)

    def _register(self, client: Client) -> int:
        asked = time.monotonic()
        ttl = client.keep_alive(self._lease) if self._lease else 0
        if ttl <= 0:
            self._lease = secrets.randbelow(2**63 - 1) + 1
            asked = time.monotonic()
            ttl = client.grant(self._lease, self._ttl)
        entry, revision = client.get(self._key)
        if entry is None or (entry.value, entry.lease) != (self._value, self._lease):
            self._held_until = float("-inf")
            client.put(self._key, self._value, self._lease, unchanged_since=entry.revision if entry else 0)
            self._on_registration("start")
        self._held_until = asked + ttl
        self._works()
        self._tick()
        return revision
