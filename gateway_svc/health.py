"""Liveness and readiness of the gateway."""

import asyncio
import math
import time
from collections.abc import Callable

from service_kit.threads import EssentialThread, died

BEAT = 1.0
"""Seconds between the event loop's signs of life."""
REVOCATIONS_WAIT = 10.0
"""Seconds after startup that a gateway waits for the revocations; then it serves without them."""
STUCK_AFTER = 5.0
"""Seconds without a sign of life after which the process should be restarted."""


class Health:
    """State of /livez and /readyz; written by the event loop, read by the admin port's threads."""

    def __init__(self) -> None:
        self.draining = False
        self.threads: list[EssentialThread] = []
        """Those that the process needs beside the event loop's."""
        self.revocations_age: Callable[[], float] = lambda: math.inf
        self._found_users = False
        self._began = self._last_beat = time.monotonic()

    def users_found(self) -> None:
        """Note that a user service was found; its later state does not affect this process's readiness."""
        self._found_users = True

    async def beat(self) -> None:
        """Give signs of life for as long as the event loop turns."""
        while True:
            self._last_beat = time.monotonic()
            await asyncio.sleep(BEAT)

    def livez(self) -> str | None:
        """Return what is wrong with the process, None when nothing is."""
        silent = time.monotonic() - self._last_beat
        return f"the event loop has been stuck for {silent:.0f} s" if silent > STUCK_AFTER else died(self.threads)

    def readyz(self) -> str | None:
        """Return why no traffic is wanted, None when it is."""
        if self.draining:
            return "draining"
        if not self._found_users:
            return "no user service has been found yet"
        if math.isinf(self.revocations_age()) and time.monotonic() - self._began < REVOCATIONS_WAIT:
            return "what was revoked has not been read yet"
        return None
