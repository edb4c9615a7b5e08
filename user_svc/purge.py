"""Deletion of sessions and revocations that concern no token any more, and of forgotten login failures."""

import logging
import random
import threading
from collections.abc import Callable

from sqlalchemy import bindparam, delete, select
from sqlalchemy.exc import SQLAlchemyError

from service_kit.threads import EssentialThread
from user_svc.clock import now
from user_svc.database import Database
from user_svc.database_errors import DatabaseUnavailableError, code_name
from user_svc.sessions.tables import revocations, sessions
from user_svc.throttle import FORGOTTEN, login_failures

INTERVAL = 3600.0
"""Seconds; each instance has its own minute of the hour."""

BATCH = 1000
"""Rows that one statement deletes, so that others wait for it for milliseconds."""
_PAUSE = 0.1
"""Seconds between two batches, in which replicas catch up."""

_SESSIONS_KEPT = 7 * 86_400_000
"""Milliseconds that a session is kept after its expiry, so that its client learns the reason."""
_REVOCATIONS_KEPT = 3_600_000

logger = logging.getLogger(__name__)

_RULES = (
    (sessions, sessions.c.expires_at < now() - _SESSIONS_KEPT),
    (revocations, revocations.c.expires_at < now() - _REVOCATIONS_KEPT),
    (login_failures, login_failures.c.last_at < now() - FORGOTTEN),
)


class Purge:
    """Purges once an hour on a thread of its own. Any number of instances may do so at the same time."""

    def __init__(self, database: Database, is_usable: Callable[[], bool]) -> None:
        """`is_usable` returns whether the database accepted writes at the last check."""
        self._database = database
        self._is_usable = is_usable
        self._stopped = threading.Event()
        self.thread = EssentialThread("purge", self._run)

    def start(self) -> None:
        """Start purging."""
        self.thread.start()

    def stop(self) -> None:
        """Purge no more; a batch that is under way is left behind."""
        self._stopped.set()

    def purge(self) -> int:
        """Delete expired rows, in batches, until none is left or stop() is called; return their number.

        Raises:
            DatabaseUnavailableError, SQLAlchemyError: when the database cannot be used; what was deleted stays so.
        """
        deleted = 0
        for table, condition in _RULES:
            find = select(table.c.id).where(condition).limit(BATCH)
            drop = delete(table).where(table.c.id.in_(bindparam("ids", expanding=True)))
            while True:
                with self._database.connection("purge", f"DELETE {table.name}") as connection:
                    found = connection.scalars(find).all()
                    if found:
                        deleted += connection.execute(drop, {"ids": found}).rowcount
                if len(found) < BATCH or self._stopped.wait(_PAUSE):
                    break
        return deleted

    def _run(self) -> None:
        pause = random.uniform(0, INTERVAL)  # noqa: S311  # no secret
        while not self._stopped.wait(pause):
            pause = INTERVAL
            if self._is_usable():
                self._purge()

    def _purge(self) -> None:
        try:
            deleted = self.purge()
        except DatabaseUnavailableError as error:
            logger.warning("expired rows could not be deleted", extra={"cause": str(error)})
        except SQLAlchemyError as error:
            logger.warning("expired rows could not be deleted", extra={"cause": code_name(error)})
        else:
            logger.info("expired rows deleted", extra={"rows": deleted})
