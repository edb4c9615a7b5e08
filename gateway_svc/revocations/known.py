"""The known revocations, in memory; used by the event loop alone."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

from gateway_svc.tokens import LEEWAY, Identity
from protos.user.v1 import user_pb2
from protos.user.v1.contract import LOGIN_TOKEN_SECONDS

LEGACY_GRACE = 30
"""Seconds by which a token without a generation must be younger than the user's generation to be accepted."""
KEPT_LONGER = 60
"""Seconds beyond the end of the last token concerned: the database's clock may differ."""

_SLICE = 1000
"""Entries that are looked at without a pause."""

K = TypeVar("K")


class _User(NamedTuple):
    """The generation that ended all earlier tokens of a user; the greatest counts."""

    generation: int
    row: int
    """In the feed; 0 until it is listed."""
    at: float
    """Unix time, by the database's clock."""
    disabled: bool
    expires: int
    """Unix time from when no token lives that this concerns, 0 when that is unknown."""


class Revocations:
    """The users whose earlier tokens are void, and the ids of single sessions and tokens that are."""

    def __init__(self) -> None:
        self._users: dict[int, _User] = {}
        self._ended: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._users) + len(self._ended)

    def is_revoked(self, identity: Identity) -> bool:
        """Tell whether the token of `identity` was revoked."""
        if identity.revocation_id in self._ended:
            return True
        user = self._users.get(identity.user_id)
        if user is None:
            return False
        if identity.generation is not None:
            return identity.generation < user.generation
        return user.disabled or identity.issued <= user.at + LEGACY_GRACE

    def add(self, listed: Iterable[user_pb2.ListRevocationsResponse.Revocation]) -> None:
        """Add listed revocations; order and repetition do not matter."""
        now = time.time()
        for each in listed:
            if each.HasField("user"):
                user = each.user
                found = _User(user.generation, each.id, each.at / 1000, user.disabled, each.expires_at)
                self._take(user.user_id, found, now)
            elif not _is_over(each.expires_at, now):
                self._ended[each.ended_id] = each.expires_at

    def end(self, revocation_id: bytes, expires: int) -> None:
        """Refuse one session or token from now on, without waiting until it is listed."""
        self._ended[revocation_id] = expires

    def end_all(self, user_id: int, generation: int) -> None:
        """Refuse a user's tokens of generations before `generation`, without waiting until it is listed."""
        now = time.time()
        expires = int(now) + LOGIN_TOKEN_SECONDS + LEEWAY
        self._take(user_id, _User(generation, 0, now, disabled=False, expires=expires), now)

    async def drop_expired(self) -> None:
        """Drop entries without live tokens, a slice at a time, so that requests are served meanwhile.

        Disabled users stay: the Go system may issue them new tokens.
        """
        now = time.time()
        for keys in _slices(list(self._ended)):
            for key in keys:
                if _is_over(self._ended[key], now):
                    del self._ended[key]
            await asyncio.sleep(0)
        for users in _slices(list(self._users)):
            for user_id in users:
                user = self._users[user_id]
                if not user.disabled and _is_over(user.expires, now):
                    del self._users[user_id]
            await asyncio.sleep(0)

    def _take(self, user_id: int, found: _User, now: float) -> None:
        known = self._users.get(user_id)
        if known is not None and known > found:
            return
        if found.disabled or not _is_over(found.expires, now):
            self._users[user_id] = found


def _slices(keys: list[K]) -> Iterator[list[K]]:
    for start in range(0, len(keys), _SLICE):
        yield keys[start : start + _SLICE]


def _is_over(expires: int, now: float) -> bool:
    return 0 < expires < now - KEPT_LONGER
