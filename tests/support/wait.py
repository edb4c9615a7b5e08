"""Waiting for conditions, so that no test sleeps for a guessed time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout: float = 10.0, *, what: str = "", interval: float = 0.02) -> T:
    """Poll `condition` until it returns something true, and return that.

    Raises:
        AssertionError: when `timeout` seconds have passed; its text is `what` and the last value seen.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            name = what or getattr(condition, "__name__", "the condition")
            raise AssertionError(f"waited {timeout:g} s without success for {name}; last value: {value!r}")
        time.sleep(interval)


def stays(condition: Callable[[], T], duration: float, *, what: str = "", interval: float = 0.02) -> None:
    """Check that `condition` holds, and goes on to hold, for `duration` seconds.

    Raises:
        AssertionError: at the first time that it does not.
    """
    end = time.monotonic() + duration
    while time.monotonic() < end:
        value = condition()
        assert value, f"{what or 'the condition'} stopped to hold: {value!r}"
        time.sleep(interval)
