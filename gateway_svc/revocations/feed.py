"""The feed of revocations: new ones are read from a user service once a second, all of them periodically.

A transaction may commit a row later than another one that is listed behind it, so each reading begins a minute before
the one before ended. The truth is in the database alone; what is known is kept when it cannot be read.
"""

import asyncio
import logging
import math
import time

from gateway_svc.revocations.known import Revocations
from gateway_svc.users_client import (
    UsersBusyError,
    UsersClient,
    UsersFailedError,
    UsersOutdatedError,
    UsersUnavailableError,
)

INTERVAL = 1.0
"""Seconds between two reads of new revocations."""
OVERLAP = 60_000
"""Milliseconds that are read again: how long a transaction may take to commit."""
WHOLE_INTERVAL = 600.0
"""Seconds between two readings of all."""
STALE_AFTER = 10.0
"""Seconds without a reading after which that is logged."""

_UNREADABLE = (UsersUnavailableError, UsersBusyError, UsersFailedError)

logger = logging.getLogger(__name__)


class RevocationFeed:
    """Keeps `Revocations` up to date."""

    def __init__(self, users: UsersClient, revocations: Revocations) -> None:
        self._users = users
        self._revocations = revocations
        self._began = time.monotonic()
        self._read_at: float | None = None
        self._after = 0
        self._whole_at = -math.inf
        self._whole: asyncio.Task[None] | None = None
        self._is_logged = False
        self._is_outdated = False

    @property
    def age(self) -> float:
        """Seconds since all that was revoked was known; infinite before the first reading."""
        return math.inf if self._read_at is None else time.monotonic() - self._read_at

    async def follow(self) -> None:
        """Read for as long as the task is not cancelled."""
        try:
            while True:
                began = time.monotonic()
                await self._catch_up()
                if self._read_at is not None and began - self._whole_at >= WHOLE_INTERVAL and self._whole is None:
                    self._whole_at = began
                    self._whole = asyncio.create_task(self._read_whole())
                await asyncio.sleep(max(0.0, INTERVAL - (time.monotonic() - began)))
        finally:
            if self._whole is not None:
                self._whole.cancel()

    async def _catch_up(self) -> None:
        try:
            now = await self._read(self._after)
        except UsersOutdatedError:
            if not self._is_outdated:
                self._is_outdated = True
                logger.warning("the user service knows no revocations, upgrade it; none are applied until then")
        except _UNREADABLE as error:
            if not self._is_logged and min(self.age, time.monotonic() - self._began) > STALE_AFTER:
                self._is_logged = True
                logger.warning("revocations cannot be read, the known ones are kept", extra={"cause": str(error)})
            return
        else:
            if self._read_at is None:
                self._whole_at = time.monotonic()
            self._after = now - OVERLAP  # also when the database's clock was set back, as by a failover
        self._read_at = time.monotonic()
        if self._is_logged:
            self._is_logged = False
            logger.info("revocations can be read again")

    async def _read_whole(self) -> None:
        try:
            await self._read(0)
            await self._revocations.drop_expired()
        except _UNREADABLE:
            pass  # logged by the readings of what is new
        finally:
            self._whole = None

    async def _read(self, after_at: int) -> int:
        """Take in all pages after a moment, and return when the first one was read, by the database's clock."""
        first = page = await self._users.list_revocations(after_at, 0)
        self._revocations.add(page.revocations)
        while page.more and page.revocations:
            last = page.revocations[-1]
            page = await self._users.list_revocations(last.at, last.id)
            self._revocations.add(page.revocations)
        return first.now
