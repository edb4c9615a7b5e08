"""Hashes, and the queue before them."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack
from typing import Any

import bcrypt
import pytest

from tests.support.wait import wait_until
from user_svc.passwords import Hasher, OverloadedError, cost_of

COST = 6
LONG = 60.0


@pytest.fixture
def hasher() -> Iterator[Hasher]:
    hasher = Hasher(COST, slots=2)
    yield hasher
    hasher.close()


class Jobs:
    """Jobs that hold their cores until they are told to end."""

    def __init__(self, hasher: Hasher) -> None:
        self._hasher = hasher
        self._end = threading.Event()
        self._stack = ExitStack()
        self.started = 0
        self.at_once = 0
        self._running = 0
        self._lock = threading.Lock()

    def submit(self, remaining: float = LONG) -> Future[None]:
        ticket = self._stack.enter_context(self._hasher.admission(remaining))
        return ticket.submit(self._job)

    def end(self) -> None:
        self._end.set()

    def leave(self) -> None:
        self._stack.close()

    def _job(self) -> None:
        with self._lock:
            self.started += 1
            self._running += 1
            self.at_once = max(self.at_once, self._running)
        self._end.wait(LONG)
        with self._lock:
            self._running -= 1


@pytest.fixture
def jobs(hasher: Hasher) -> Iterator[Jobs]:
    jobs = Jobs(hasher)
    yield jobs
    jobs.end()
    jobs.leave()


def work(hasher: Hasher, monkeypatch: pytest.MonkeyPatch, password: str, stored: str | None) -> tuple[bool, int]:
    """Check a password, and count the rounds that bcrypt had to do for it."""
    rounds = 0

    def counted(function: Callable[[bytes, bytes], Any]) -> Callable[[bytes, bytes], Any]:
        def call(secret: bytes, salt: bytes) -> Any:
            nonlocal rounds
            rounds += 2 ** int(salt.split(b"$")[2])
            return function(secret, salt)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(bcrypt, "checkpw", counted(bcrypt.checkpw))
        patch.setattr(bcrypt, "hashpw", counted(bcrypt.hashpw))
        return hasher.check(password, stored), rounds


def stored(password: str, cost: int = COST) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


def test_a_new_hash_fits_its_password_alone(hasher: Hasher) -> None:
    made = hasher.hash("密码password")
    assert cost_of(made.encode()) == COST
    assert hasher.check("密码password", made)
    assert not hasher.check("密码passwordx", made)


@pytest.mark.parametrize("prefix", ["2a", "2b", "2y"])
def test_hashes_of_other_systems_fit(hasher: Hasher, prefix: str) -> None:
    assert hasher.check("password", stored("password").replace("2b", prefix, 1))


NO_HASHES = [
    None,
    "",
    "password",
    "$1$abc$def",
    "$2b$",
    "$2b$99$" + "a" * 53,
    "$2b$06$" + "!" * 53,
    "密" * 60,
    "a" * 60,
]


@pytest.mark.parametrize("held", NO_HASHES)
def test_what_is_no_hash_fits_nothing(hasher: Hasher, held: str | None) -> None:
    assert not hasher.check("password", held)


def test_every_refusal_costs_the_same(hasher: Hasher, monkeypatch: pytest.MonkeyPatch) -> None:
    held = [None, "garbage", *(stored("password", cost) for cost in (4, 5, COST))]
    assert [work(hasher, monkeypatch, "wrong", each) for each in held] == [(False, 2**COST)] * len(held)


def test_only_a_lower_cost_is_outdated(hasher: Hasher) -> None:
    assert [hasher.is_outdated(stored("password", cost)) for cost in (COST - 1, COST, COST + 1)] == [True, False, False]
    assert not hasher.is_outdated("garbage")


def test_as_many_at_a_time_as_there_are_slots(jobs: Jobs) -> None:
    futures = [jobs.submit() for _ in range(6)]
    wait_until(lambda: jobs.started == 2)
    jobs.end()
    for future in futures:
        future.result(LONG)
    assert (jobs.started, jobs.at_once) == (6, 2)


def test_who_cannot_be_served_in_time_is_refused_without_waiting(hasher: Hasher, jobs: Jobs) -> None:
    hasher._seconds = 1.0
    for _ in range(4):
        jobs.submit()
    with pytest.raises(OverloadedError) as refused, hasher.admission(3.0):
        pass  # two rounds are ahead, so this one would end after 4.2 s
    assert refused.value.retry_after == 2
    with pytest.raises(OverloadedError) as refused, hasher.admission(0.5):
        pass
    assert refused.value.retry_after == 4
    with hasher.admission(4.5):
        pass


def test_a_free_core_is_never_refused(hasher: Hasher, jobs: Jobs) -> None:
    hasher._seconds = 1000.0  # as after a measurement on a machine that stood still
    with hasher.admission(1.0) as ticket:
        assert not ticket.submit(lambda: hasher.check("password", None)).result(LONG)
    assert hasher._seconds < 1000.0
    hasher._seconds = 1000.0
    jobs.submit(1.0)
    jobs.submit(1.0)
    with pytest.raises(OverloadedError), hasher.admission(1.0):
        pass


def test_a_place_that_was_not_used_is_free_again(hasher: Hasher) -> None:
    hasher._seconds = 1.0
    for _ in range(20):
        with hasher.admission(1.5):
            pass


def test_the_queue_has_an_end(hasher: Hasher, jobs: Jobs) -> None:
    hasher._seconds = 0.0
    for _ in range(hasher.capacity):
        jobs.submit()
    with pytest.raises(OverloadedError), hasher.admission(LONG):
        pass


def test_who_goes_away_leaves_the_queue(hasher: Hasher, jobs: Jobs) -> None:
    running = [jobs.submit() for _ in range(2)]
    wait_until(lambda: jobs.started == 2)
    waiting = [jobs.submit() for _ in range(3)]
    assert [future.cancel() for future in waiting] == [True] * 3
    jobs.end()
    for future in running:
        future.result(LONG)
    with pytest.raises(CancelledError):
        waiting[0].result(LONG)
    wait_until(lambda: hasher._pending == 0)
    assert jobs.started == 2


def test_a_job_whose_turn_comes_too_late_is_not_begun(hasher: Hasher, jobs: Jobs) -> None:
    for _ in range(2):
        jobs.submit()
    late = jobs.submit(0.2)
    hasher._seconds = 1.0
    jobs.end()
    with pytest.raises(OverloadedError):
        late.result(LONG)
    assert jobs.started == 2


def test_a_renewal_waits_for_nobody(hasher: Hasher, jobs: Jobs) -> None:
    renewed = threading.Event()
    jobs.submit()
    hasher.when_idle(renewed.set)
    jobs.end()
    wait_until(lambda: hasher._pending == 0)
    assert not renewed.is_set()
    hasher.when_idle(renewed.set)
    assert renewed.wait(LONG)


def test_a_renewal_that_fails_harms_nobody(hasher: Hasher, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("hunter2")

    hasher.when_idle(fail)
    wait_until(lambda: hasher._pending == 0)
    wait_until(lambda: "not renewed" in caplog.text)
    assert "hunter2" not in caplog.text


def test_a_free_core_corrects_an_estimate_that_is_far_off(hasher: Hasher) -> None:
    hasher._seconds = wrong = 1000.0  # as when something else had the cores while it was measured
    for _ in range(3):
        with hasher.admission(1.0) as ticket:
            ticket.submit(lambda: hasher.hash("password123")).result(LONG)
    assert hasher._seconds < wrong / 1.5
