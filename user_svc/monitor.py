"""Watching the database: brings the schema up when it answers, and knows at any time whether it does."""

import logging
import threading
from collections.abc import Callable

from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from user_svc import schema
from user_svc.database import Database, code_name, explain

INTERVAL = 1.0
"""Seconds between two questions to the database."""

logger = logging.getLogger(__name__)


class DatabaseMonitor:
    """Asks the database once a second on a thread of its own, and brings the schema up whenever it comes back."""

    def __init__(self, database: Database, variable: str, on_change: Callable[[], None]) -> None:
        """`variable` is the setting that says where the database is, for the log."""
        self._database = database
        self._variable = variable
        self._on_change = on_change
        self._answers = False
        self._cause = "not asked yet"
        self._wake = threading.Event()
        self._stopped = False
        self.thread = threading.Thread(target=self._run, name="database monitor", daemon=True)

    @property
    def answers(self) -> bool:
        """Whether the database answered when it was last asked."""
        return self._answers

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
            self._take_note(self._problem())
            self._wake.wait(INTERVAL)
            self._wake.clear()

    def _problem(self) -> tuple[str, str] | None:
        """Ask, and return the name of what is wrong and its explanation, or None."""
        try:
            if self._answers:
                self._database.ping(schema.PROBE)
            else:
                self._database.ping()
                schema.upgrade(self._database)
        except SQLAlchemyError as error:
            return code_name(error), explain(error)
        except (OSError, CommandError, schema.UnusableSchemaError) as error:
            return type(error).__name__, str(error)
        except Exception as error:
            logger.exception("the database could not be asked")
            return type(error).__name__, ""
        return None

    def _take_note(self, problem: tuple[str, str] | None) -> None:
        cause, explanation = problem or ("", "")
        if cause != self._cause:
            if problem:
                logger.warning("%s: the database cannot be used", self._variable, extra={"cause": explanation})
            else:
                logger.info("the database answers", extra={"database": self._database.source.place})
            self._cause = cause
        if self._answers != (problem is None):
            self._answers = problem is None
            self._on_change()
