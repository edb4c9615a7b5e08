"""Finds the highest cost of stored hashes, so that refusals take as long as the slowest of them."""

import logging
import threading
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from service_kit.threads import EssentialThread
from user_svc.database_errors import DatabaseUnavailableError, code_name
from user_svc.passwords import Hasher
from user_svc.store import Store

INTERVAL = 600.0
"""Seconds between two looks at all hashes."""
_RETRY = 0.25
"""Seconds until the next attempt while the database cannot be used."""

logger = logging.getLogger(__name__)


class StoredCosts:
    """Sets a hasher's highest stored cost, on a thread of its own, at startup and every INTERVAL."""

    def __init__(self, store: Store, hasher: Hasher, is_usable: Callable[[], bool]) -> None:
        """`is_usable` returns whether the database answered at the last check."""
        self._store = store
        self._hasher = hasher
        self._is_usable = is_usable
        self._stopped = threading.Event()
        self.thread = EssentialThread("stored costs", self._run)

    def start(self) -> None:
        """Start looking."""
        self.thread.start()

    def stop(self) -> None:
        """Look no more; a look that is under way is left behind."""
        self._stopped.set()

    def _run(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause):
            pause = INTERVAL if self._learn() else _RETRY

    def _learn(self) -> bool:
        if not self._is_usable():
            return False
        try:
            highest = self._store.highest_cost()
        except DatabaseUnavailableError:
            return False
        except SQLAlchemyError as error:
            logger.warning("the costs of the stored hashes could not be read", extra={"cause": code_name(error)})
            return True
        before = self._hasher.refusal_cost
        self._hasher.learn(highest)
        if self._hasher.refusal_cost != before:
            logger.info("refusals take as long as a hash of cost %d, the highest stored", self._hasher.refusal_cost)
        return True
