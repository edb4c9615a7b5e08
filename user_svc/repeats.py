"""Repeats statements that the database rolled back."""

import logging
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_before_delay, wait_random_exponential

from user_svc.database_errors import RolledBackError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
"""Seconds between two executions of a statement, at most: those that collided must not do so again."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


def repeat(operation: Callable[[], T], patience: float, *, on: type[Exception] = RolledBackError) -> T:
    """Call `operation`, and again when it raises `on`, for as long as `patience` seconds have not passed."""
    return Retrying(
        retry=retry_if_exception_type(on),
        wait=wait_random_exponential(multiplier=_FIRST_PAUSE, max=_LONGEST_PAUSE),
        stop=stop_before_delay(patience),
        before_sleep=_log_repetition,
        reraise=True,
    )(operation)


def _log_repetition(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    logger.info("executing a statement again", extra={"cause": str(error), "attempt": state.attempt_number})
