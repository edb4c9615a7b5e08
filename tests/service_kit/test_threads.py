"""Threads that a process cannot do without."""

import threading

import pytest
from prometheus_client import REGISTRY

from service_kit.threads import EssentialThread, died


def is_alive(name: str) -> float | None:
    return REGISTRY.get_sample_value("thread_alive", {"thread": name})


@pytest.mark.parametrize("error", [RuntimeError("broken"), SystemExit()])
def test_a_thread_that_dies_is_told_at_once(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    dying = threading.Event()

    def run() -> None:
        dying.wait()
        raise error

    thread, other = EssentialThread("mortal", run), EssentialThread("immortal", dying.wait)
    assert died([other, thread]) is None
    for each in (thread, other):
        each.start()
    assert (died([other, thread]), is_alive("mortal")) == (None, 1)
    dying.set()
    for each in (thread, other):
        each.join()
    assert died([other, thread]) == "the thread 'mortal' has died"
    assert (is_alive("mortal"), is_alive("immortal")) == (0, 1)
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("CRITICAL", "the thread 'mortal' has died, restart the process")
