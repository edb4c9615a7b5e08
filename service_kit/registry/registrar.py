"""Keeps one instance registered under a lease."""

import logging
import random
import secrets
import time
from collections.abc import Callable

from service_kit.registry.etcd import Client, Entry, EtcdConfig, EtcdError
from service_kit.registry.instance import DEFAULT_PREFIX, Instance, key
from service_kit.registry.supervisor import Backoff, Supervisor

logger = logging.getLogger(__name__)

_NEVER = float("-inf")

_TRUCE = 30.0
"""Seconds at most between attempts to take the key from a lease that has taken it back."""

_GRANT_EXPIRY = 10.0
"""Seconds after which etcd has dropped a request whose answer was lost: it gives up on one after 7 s by default."""


class Registrar(Supervisor):
    """Registers an instance under a lease, and never gives up doing so.

    Lease and key are compared with what they should be at the start of each session with etcd, three times in a TTL,
    and when the key changes; differences are corrected. stop() revokes the lease, which removes the key; where etcd
    does not answer in time, the key goes within the TTL.
    """

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
        """Prepare to register `instance` with a lease of `ttl` seconds (etcd may make it longer).

        `on_change` hears whether the registration is held, each time that changes. `on_registration` hears the reason
        of each writing of the key: "start", "reconnected" (it was gone after etcd was unavailable), "lease_lost",
        "key_deleted" or "key_overwritten". Both are called from the registrar's thread and must return soon.

        Raises:
            ValueError: when `ttl` is less than 1.
        """
        if ttl < 1:
            raise ValueError("the TTL of a lease must be 1 s or more")
        super().__init__("registrar", etcd)
        self._key = key(prefix, service, instance.address)
        self._value = instance.encode()
        self._ttl = ttl
        self._on_change = on_change
        self._on_registration = on_registration
        self._lease = 0
        self._orphan_leases: dict[int, float | None] = {}  # to when etcd first knew nothing of it
        self._renewed_until = _NEVER
        self._held_until = _NEVER
        self._was_held = False
        self._written = False
        self._reason: str | None = None
        self._pace = Backoff()
        self._took_over_at = _NEVER
        self._conflict_backoff_until = _NEVER

    @property
    def held(self) -> bool:
        """Whether the key was there when last looked at, and its lease cannot have run out since.

        Needs no I/O. An unavailable etcd leaves it true until the lease may have run out.
        """
        return time.monotonic() < self._held_until and not self._stopping.is_set()

    def _session(self, client: Client) -> None:
        self._reconcile(client, reconnected=True)
        watch = self._follow(client, self._key)
        while True:
            now = time.monotonic()
            answer = self._next(watch, now + (self._renewed_until - now) / 3)
            if answer is None or answer.events:
                self._reconcile(client)

    def _leave(self, client: Client) -> None:
        self._set_held(_NEVER)
        if self._lease:
            client.revoke(self._lease)
            self._lease = 0
        for lease in tuple(self._orphan_leases):
            client.revoke(lease)
            del self._orphan_leases[lease]

    def _has_cleanup(self) -> bool:
        return bool(self._lease or self._orphan_leases)

    def _check(self) -> None:
        held = self.held
        if held != self._was_held:
            self._was_held = held
            self._tell(self._on_change, held)

    def _reconcile(self, client: Client, *, reconnected: bool = False) -> None:
        self._revoke_orphans(client)
        lease_lost = not self._renew(client)
        entry, revision = client.get(self._key)
        self._has_read(revision)
        if lease_lost:
            self._grant(client)  # only now, when etcd is known to answer: else each attempt leaves a doubtful lease
        if entry is None or (entry.value, entry.lease) != (self._value, self._lease):
            self._set_held(_NEVER)
            if not self._may_write(entry):
                return
            self._reason = self._why(entry, lease_lost=lease_lost, reconnected=reconnected)
            if self._written:
                self._stopping.wait(self._pace.next())  # someone may be overwriting it as fast as we are
            written_at = client.put(self._key, self._value, self._lease, unchanged_since=entry.revision if entry else 0)
            if written_at is None:
                return  # it has just changed, and the watch will say so
            self._has_read(written_at)
        self._set_held(self._renewed_until)
        self._conflict_backoff_until = _NEVER
        if self._reason is not None:
            logger.info("registrar: %s is registered (%s)", self._key, self._reason)
            self._tell(self._on_registration, self._reason)
            self._reason = None
            self._written = True

    def _renew(self, client: Client) -> bool:
        if not self._lease:
            return False
        asked_at = time.monotonic()
        ttl = client.keep_alive(self._lease)
        if ttl <= 0:
            self._lease = 0
            self._set_held(_NEVER)
            return False
        self._renewed_until = asked_at + ttl
        return True

    def _grant(self, client: Client) -> None:
        # With an id of our own a lease can be revoked even if the answer that made it was lost.
        lease = secrets.randbelow(2**63 - 1) + 1
        self._orphan_leases[lease] = None
        asked_at = time.monotonic()
        try:
            ttl = client.grant(lease, self._ttl)
        except EtcdError as error:
            if error.refused:
                del self._orphan_leases[lease]
            raise
        del self._orphan_leases[lease]
        self._lease = lease
        self._renewed_until = asked_at + ttl

    def _revoke_orphans(self, client: Client) -> None:
        for lease, unknown_since in tuple(self._orphan_leases.items()):
            now = time.monotonic()
            if client.revoke(lease) or (unknown_since is not None and now - unknown_since > _GRANT_EXPIRY):
                del self._orphan_leases[lease]
            elif unknown_since is None:
                self._orphan_leases[lease] = now

    def _may_write(self, entry: Entry | None) -> bool:
        """Whether the key may be written over `entry`.

        The lease of a process that was killed lives on for a while, so a key under another lease is taken over. When
        it changes hands again, another process is alive that advertises the same address.
        """
        if entry is None or entry.lease in (0, self._lease):
            return True
        now = time.monotonic()
        if now < self._conflict_backoff_until:
            return False
        if self._conflict_backoff_until != _NEVER or now - self._took_over_at > _TRUCE:
            self._conflict_backoff_until = _NEVER
            self._took_over_at = now
            return True
        pause = random.uniform(_TRUCE / 2, _TRUCE)  # noqa: S311
        self._conflict_backoff_until = now + pause
        logger.warning(
            "registrar: %s is held by another live lease; do two instances advertise one address? "
            "Taking it over in %.0f s unless it is free before",
            self._key,
            pause,
        )
        return False

    def _why(self, entry: Entry | None, *, lease_lost: bool, reconnected: bool) -> str:
        if not self._written:
            return "start"
        if reconnected:
            return "reconnected"
        if lease_lost:
            return "lease_lost"
        return "key_deleted" if entry is None else "key_overwritten"

    def _set_held(self, until: float) -> None:
        self._check()  # it may have run out unnoticed
        self._held_until = until
        self._check()
