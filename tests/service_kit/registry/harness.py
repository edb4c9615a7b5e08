"""A registrar and a resolver on a real etcd, with all that they tell."""

import itertools
import time
from typing import Any, Self

from service_kit.registry import EtcdConfig, Instance, Registrar, Resolver, Snapshot, key
from tests.support.etcd import Etcd, Key
from tests.support.wait import wait_until

RECOVERY = 5.0
"""Seconds within which an instance is registered again once etcd can take it."""

_ports = itertools.count(20000)


class RegistrarHarness:
    """One instance, registered and followed; a context manager that checks at its end that nothing is left in etcd."""

    def __init__(
        self,
        etcd: Etcd,
        *,
        endpoints: tuple[str, ...] | None = None,
        credentials: tuple[str, str] | None = None,
        prefix: str = "kitex/registry-etcd",
        ttl: int = 1,
        timeout: float = 1.0,
        **resolver: Any,
    ) -> None:
        username, password = credentials or (None, None)
        self.etcd = etcd
        self.config = EtcdConfig(endpoints or (etcd.endpoint,), username, password, timeout=timeout)
        self.instance = Instance(f"10.0.0.1:{next(_ports)}")
        self.key = key(prefix, "user", self.instance.address)
        self.prefix = prefix
        self.held: list[bool] = []
        self.reasons: list[str] = []
        self.snapshots: list[Snapshot] = []
        self.registrar = Registrar(
            self.config,
            "user",
            self.instance,
            prefix=prefix,
            ttl=ttl,
            on_change=self.held.append,
            on_registration=self.reasons.append,
        )
        resolver = {"linger": 0.5, "relist": 0.5} | resolver
        self._relists = resolver["relist"] < RECOVERY
        self.resolver = Resolver(self.config, "user", prefix=prefix, on_change=self.snapshots.append, **resolver)

    def __enter__(self) -> Self:
        self.registrar.start()
        self.resolver.start()
        self.back(timeout=10)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop()
        if kind is None:
            assert self.etcd.keys(self.prefix) == {}
            assert self.etcd.leases() == set()

    @property
    def found(self) -> Key:
        """What etcd holds under the instance's key."""
        return self.etcd.keys(self.prefix)[self.key]

    @property
    def snapshot(self) -> Snapshot:
        """What the resolver shows."""
        assert self.resolver.snapshot is not None
        return self.resolver.snapshot

    def stop(self) -> None:
        """Stop both."""
        self.registrar.stop()
        self.resolver.stop()

    def back(self, timeout: float = RECOVERY) -> None:
        """Wait until the instance is registered under a lease, the only one there is, and is seen to be."""
        since = time.monotonic()
        wait_until(self._registered, timeout, what="the instance to be registered under a live lease")
        # Looking at etcd beside keeps its short-lived tokens in use.
        wait_until(lambda: self._seen(since) and self._registered(), timeout, what="the resolver to have seen it")
        wait_until(lambda: self.etcd.leases() == {self.found.lease}, timeout, what="only the key's lease to be left")

    def away(self, duration: float = 0.0) -> None:
        """Wait until the lease may have run out, and for `duration` seconds at least."""
        until = time.monotonic() + duration
        wait_until(lambda: not self.registrar.held and time.monotonic() >= until, 120, what="the lease to run out")

    def _registered(self) -> bool:
        found = self.etcd.keys(self.prefix).get(self.key)
        return (
            self.registrar.held
            and found is not None
            and found.value == self.instance.encode()
            and found.lease in self.etcd.leases()
        )

    def _seen(self, since: float) -> bool:
        snapshot = self.resolver.snapshot
        return (
            snapshot is not None
            and self.instance in snapshot.instances
            and (snapshot.confirmed_at >= since or not self._relists)
        )
