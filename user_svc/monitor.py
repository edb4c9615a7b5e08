"""Watching the database: migrates the schema when it answers, and knows whether it does and accepts writes."""

import logging
import threading
from collections.abc import Callable
from typing import NamedTuple

from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from service_kit.threads import EssentialThread
from user_svc import metrics, schema
from user_svc.database import Database
from user_svc.database_errors import DatabaseUnavailableError, code_name, explain

READ_ONLY = "READ_ONLY"
"""The cause, in logs, of a call refused because the database accepts no writes."""

INTERVAL = 1.0
"""Seconds between two questions to the database."""

_NO_ANSWER = "the database does not answer"

logger = logging.getLogger(__name__)


class _Problem(NamedTuple):
    cause: str
    """A line is logged when it changes."""
    explanation: str
    obstacle: str = _NO_ANSWER
    level: int = logging.WARNING
    retry_after: float = INTERVAL
    """Seconds."""


class DatabaseMonitor:
    """Checks the database once a second on a thread of its own, and migrates the schema when it comes back."""

    def __init__(self, database: Database, variable: str, on_change: Callable[[], None]) -> None:
        """`variable` is the setting that names the database, for the log."""
        self._database = database
        self._variable = variable
        self._on_change = on_change
        self._answers = False
        self._writable = False
        self.obstacle = _NO_ANSWER
        """Why the database cannot be used, or only read, as a message for operators; empty when it can be written."""
        self._cause = "not asked yet"
        self._wake = threading.Event()
        self._stopped = False
        self.thread = EssentialThread("database monitor", self._run)

    @property
    def answers(self) -> bool:
        """Whether the database answered when it was last asked."""
        return self._answers

    @property
    def writable(self) -> bool:
        """Whether it also accepted writes then, as a replica or a demoted primary does not."""
        return self._writable

    def require(self, *, writable: bool = False) -> None:
        """Raise DatabaseUnavailableError unless the database answered, or even accepted writes, when last asked."""
        if not self._answers:
            raise DatabaseUnavailableError("NOT_ANSWERING")
        if writable and not self._writable:
            raise DatabaseUnavailableError(READ_ONLY)

    def start(self) -> None:
        """Start asking."""
        self.thread.start()

    def ask(self) -> None:
        """Ask now: a call could not use the database."""
        if self._answers:
            self._wake.set()

    def stop(self, timeout: float) -> None:
        """Stop asking; a question that hangs is left behind after `timeout` seconds."""
        self._stopped = True
        self._wake.set()
        self.thread.join(timeout)

    def _run(self) -> None:
        while not self._stopped:
            writable, problem = self._ask()
            if not (writable and self._writable):  # another server may be, or may soon be, behind the address
                self._database.renew()
            self._take_note(problem, writable=writable)
            self._wake.wait(problem.retry_after if problem else INTERVAL)
            self._wake.clear()

    def _ask(self) -> tuple[bool, _Problem | None]:
        """Return whether the database accepts writes, and its problem."""
        try:
            if self._answers:
                writable = self._database.ping(schema.PROBE)
            else:
                writable = self._database.ping()
                schema.upgrade(self._database)
        except SQLAlchemyError as error:
            return False, _Problem(code_name(error), explain(error))
        except schema.SchemaBusyError as error:
            waiting = f"waiting to migrate the schema: {error}"
            return False, _Problem(waiting, waiting, waiting, logging.INFO, error.retry_after)
        except schema.UnusableSchemaError as error:
            return False, _Problem(str(error), str(error), str(error))
        except (OSError, CommandError) as error:
            return False, _Problem(type(error).__name__, str(error))
        except Exception as error:
            logger.exception("the check of the database failed")
            return False, _Problem(type(error).__name__, "")
        return writable, None

    def _take_note(self, problem: _Problem | None, *, writable: bool) -> None:
        was, now = (self._answers, self._writable), (problem is None, writable)
        self._answers, self._writable = now  # before anyone is told of it
        self.obstacle = problem.obstacle if problem else "" if writable else "the database is read-only"
        cause = problem.cause if problem else "" if writable else READ_ONLY
        if cause != self._cause:
            if problem:
                extra = {"cause": problem.explanation}
                logger.log(problem.level, "%s: the database cannot be used", self._variable, extra=extra)
            elif not writable:
                logger.warning("%s: the database is read-only; registrations fail", self._variable)
            else:
                logger.info("the database answers", extra={"database": self._database.source.place})
            self._cause = cause
        metrics.database_read_only.set(problem is None and not writable)
        if now != was:
            self._on_change()
