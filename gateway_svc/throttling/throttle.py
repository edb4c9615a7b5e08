"""How much an address may do, counted in this process's memory: after a burst, one more each second."""

import contextlib
import logging
import math
from collections.abc import Iterator

from throttled import MemoryStore, RateLimiterType, Throttled, per_min

from gateway_svc import metrics, problems
from gateway_svc.problems import Problem
from service_kit.settings import ThrottleMode

PER_MINUTE = 60
BURST = 30
MAX_COUNTED = 20_000
"""Addresses that are remembered; those that did nothing for longest are forgotten first."""

BUCKETS = {
    "/api/register": "registrations",
    "/api/login": "passwords",
    "/api/sessions": "passwords",
    "/api/sessions/refresh": "refresh tokens",
    "/api/sessions/end": "refresh tokens",
}
"""Buckets by route. Separate, since one client's wrong passwords must not end its neighbours' sessions."""

logger = logging.getLogger(__name__)


class Throttle:
    """Counts registrations and failures by address. It belongs to the event loop."""

    def __init__(self, mode: ThrottleMode) -> None:
        self._mode = mode
        metrics.declare_throttled(BUCKETS)
        store = MemoryStore(options={"MAX_SIZE": MAX_COUNTED})
        gcra = RateLimiterType.GCRA.value
        self._limiter = Throttled(using=gcra, quota=per_min(PER_MINUTE, burst=BURST), store=store)
        self._reports = Throttled(using=gcra, quota=per_min(1), store=store)

    def take(self, route: str, client: str | None) -> None:
        """Count one attempt of `client`, None when clients cannot be distinguished.

        Raises:
            Problem: 429, when it is one too many.
        """
        if client is None:
            return
        result = self._limiter.limit(_key(route, client))
        if result.limited:
            self._refuse(route, client, result.state.retry_after)

    @contextlib.contextmanager
    def failures(self, route: str, client: str | None) -> Iterator[None]:
        """Count the try within, if it fails with 401.

        Raises:
            Problem: 429 without a try, when `client` has failed too often.
        """
        if client is not None and not self._limiter.peek(_key(route, client)).remaining:
            self.take(route, client)  # refuses and counts nothing; what `peek` says of the time to wait is too short
        try:
            yield
        except Problem as problem:
            if problem.status == 401 and client is not None:
                self._limiter.limit(_key(route, client))
            raise

    def _refuse(self, route: str, client: str, retry_after: float) -> None:
        metrics.client_throttled(route)
        if not self._reports.limit(f"{route} {client}").limited:
            fields = {"client": client, "route": route, "mode": self._mode.value}
            logger.warning("a client exceeds its rate limit", extra=fields)
        if self._mode is ThrottleMode.ENFORCE:
            raise problems.throttled(max(1, math.ceil(retry_after)))


def _key(route: str, client: str) -> str:
    return f"{BUCKETS[route]} {client}"
