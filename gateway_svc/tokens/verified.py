"""A cache of valid tokens: checking a signature takes longer than the rest of a request."""

import hashlib
from typing import Generic, TypeVar

MAX_VERIFIED = 20_000
"""Tokens whose verification is remembered."""

T = TypeVar("T")


class VerifiedTokens(Generic[T]):
    """Contents of valid tokens by digest: at most MAX_VERIFIED, at least the latest half of that.

    Two generations: dropping the older one as a whole needs less memory than an order of all.
    """

    def __init__(self) -> None:
        self._new: dict[bytes, T] = {}
        self._old: dict[bytes, T] = {}

    def get(self, digest: bytes) -> T | None:
        """Return the cached contents."""
        found = self._new.get(digest)
        if found is None and (found := self._old.pop(digest, None)) is not None:
            self.put(digest, found)
        return found

    def put(self, digest: bytes, said: T) -> None:
        """Cache the contents of a valid token."""
        if len(self._new) >= MAX_VERIFIED // 2:
            self._new, self._old = {}, self._new
        self._new[digest] = said

    def clear(self) -> None:
        """Forget all, as after a change of keys."""
        self._new, self._old = {}, {}


def digest_of(token: str) -> bytes:
    """Return the cache key of the token: its SHA-256."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
