"""The queue before the cores: who is admitted, in which order, and what an admission is worth."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import grpc
import pytest
from prometheus_client import REGISTRY

from protos.user.v1 import user_pb2, user_pb2_grpc
from service_kit.settings import ThrottleMode
from tests.support.wait import wait_until
from tests.user_svc.client import PASSWORD, SERVICE, code_of
from user_svc.accounts import AccountStore
from user_svc.calls import CallInterceptor
from user_svc.database import Database
from user_svc.hash_queue import Admission, HashQueue, OverloadedError
from user_svc.monitor import DatabaseMonitor
from user_svc.passwords import Hasher, cost_of
from user_svc.service import UserService
from user_svc.sessions import SessionStore
from user_svc.standing import Standing
from user_svc.store import Store
from user_svc.throttle import Throttle

COST = 6
SLOTS = 2
LONG = 60.0


def hash_of(cost: int) -> str:
    return f"$2b${cost:02}${'.' * 53}"


OLD_HASH = hash_of(4)


class ControlledHasher(Hasher):
    """Hashes hold their cores until `proceed` is set, and then take `seconds` of a clock of their own.

    A check does so for its share.
    """

    def __init__(self) -> None:
        super().__init__(COST)
        self.calibrated = 1.0
        self.seconds = 1.0
        self.now = 0.0
        self.proceed = threading.Event()
        self.started: list[str] = []
        self.peak = 0
        self._running = 0
        self._lock = threading.Lock()

    def clock(self) -> float:
        return self.now

    def hash(self, password: str) -> str:
        self._take(password)
        return "hash"

    def check(self, password: str, stored: str | None) -> tuple[bool, int]:
        matches = stored is not None
        cost = cost_of(stored) or self.refusal_cost
        self._take(password, self.share(cost))
        return matches, cost

    def _take(self, password: str, share: float = 1.0) -> None:
        with self._lock:
            self.started.append(password)
            self._running += 1
            self.peak = max(self.peak, self._running)
        assert self.proceed.wait(LONG)
        with self._lock:
            self._running -= 1
            self.now += self.seconds * share


class Calls:
    """Calls that each admit one hash, from threads of their own as the gRPC server's."""

    def __init__(self, queue: HashQueue, hasher: ControlledHasher) -> None:
        self.queue = queue
        self.hasher = hasher
        self.threads = ThreadPoolExecutor(300)
        self.cancels: list[Callable[[], None]] = []

    def start(self, password: str = "password", remaining: float | None = LONG) -> Future[str]:
        """Return the call once it is on a core or in the queue.

        Raises:
            OverloadedError: when it is refused.
        """
        depth = waiting()
        began = len(self.hasher.started)
        call = self.threads.submit(self._call, password, remaining)
        wait_until(lambda: call.done() or waiting() > depth or len(self.hasher.started) > began)
        if call.done():
            call.result()
        return call

    def flood(self, remaining: float) -> list[Future[str]]:
        """Return all that are admitted before the first refusal."""
        admitted: list[Future[str]] = []
        with suppress(OverloadedError):
            while True:
                admitted.append(self.start(remaining=remaining))
        return admitted

    def fill(self) -> list[Future[str]]:
        """Take all cores."""
        return [self.start() for _ in range(SLOTS)]

    def _call(self, password: str, remaining: float | None) -> str:
        with self.queue.admit(remaining, self._on_cancel, hashes=1) as admission:
            return admission.hash(password)

    def _on_cancel(self, cancel: Callable[[], None]) -> bool:
        self.cancels.append(cancel)
        return True


class NoteNiceness(Hasher):
    """Its hashes are the niceness of the thread that makes them."""

    def hash(self, password: str) -> str:
        return str(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))


def niceness_of_hashes(queue: HashQueue) -> int:
    with queue.admit(LONG, never_cancelled, hashes=1) as admission:
        return int(admission.hash(PASSWORD))


def waiting() -> float:
    return REGISTRY.get_sample_value("password_hash_queue_depth") or 0.0


def idle(calls: Calls) -> bool:
    return not calls.queue._reserved


@pytest.fixture
def hasher() -> ControlledHasher:
    return ControlledHasher()


@pytest.fixture
def make_calls(hasher: ControlledHasher) -> Iterator[Callable[[int], Calls]]:
    made: list[Calls] = []

    def make(slots: int) -> Calls:
        made.append(Calls(HashQueue(hasher, slots, hasher.calibrated, clock=hasher.clock), hasher))
        return made[-1]

    yield make
    hasher.proceed.set()
    for calls in made:
        calls.threads.shutdown()
        calls.queue.close(LONG)


@pytest.fixture
def calls(make_calls: Callable[[int], Calls]) -> Calls:
    return make_calls(SLOTS)


def admitted(calls: Calls, remaining: float, *, hashes: int = 0, checks: int = 0) -> None:
    """Raises OverloadedError when it is not."""
    with calls.queue.admit(remaining, never_cancelled, hashes=hashes, checks=checks):
        pass


def never_cancelled(_cancel: Callable[[], None]) -> bool:
    return True


def test_as_many_hashes_run_as_there_are_slots(calls: Calls, hasher: ControlledHasher) -> None:
    started = [calls.start() for _ in range(6)]
    assert waiting() == 4
    hasher.proceed.set()
    for call in started:
        call.result(LONG)
    assert (len(hasher.started), hasher.peak) == (6, SLOTS)
    assert waiting() == 0


def test_admitted_calls_are_served_in_order(make_calls: Callable[[int], Calls], hasher: ControlledHasher) -> None:
    calls = make_calls(1)
    order = [f"password {number}" for number in range(20)]
    started = [calls.start(password) for password in order]
    hasher.proceed.set()
    for call in started:
        call.result(LONG)
    assert hasher.started == order


@pytest.mark.parametrize("niceness", [0, 4])
def test_hashes_run_at_their_niceness(niceness: int) -> None:
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    assert niceness_of_hashes(HashQueue(NoteNiceness(COST), 1, 1.0, niceness=niceness)) == min(usual + niceness, 19)


def test_hashes_need_no_right_to_their_niceness(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under a seccomp profile without setpriority."""

    def refuse(*_arguments: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    assert niceness_of_hashes(HashQueue(NoteNiceness(COST), 1, 1.0, niceness=4)) == usual


def test_late_calls_are_refused_at_once(calls: Calls) -> None:
    for _ in range(4):
        calls.start()
    with pytest.raises(OverloadedError) as refused:
        calls.start(remaining=4.5)  # two rounds of 2 s are ahead, so this one would end after 6 s
    assert refused.value.retry_after == 2
    with pytest.raises(OverloadedError) as refused:
        calls.start(remaining=0.5)
    assert refused.value.retry_after == 6
    calls.start(remaining=6.0)


@pytest.mark.parametrize("remaining", [None, 1e10])
def test_a_call_without_deadline_has_five_seconds(calls: Calls, remaining: float | None) -> None:
    for _ in range(4):
        calls.start(remaining=remaining)
    with pytest.raises(OverloadedError) as refused:
        calls.start(remaining=remaining)
    assert refused.value.retry_after == 1


def test_admitted_calls_are_served_when_hashes_slow_down(
    make_calls: Callable[[int], Calls], hasher: ControlledHasher
) -> None:
    hasher.calibrated = 10.0
    calls = make_calls(1)
    admitted = calls.flood(remaining=80.0)
    hasher.seconds = 20.0  # as when the flood itself takes half of the cores
    hasher.proceed.set()
    for call in admitted:
        call.result(LONG)
    assert len(admitted) > 1
    assert hasher.now <= 80.0


def test_slow_hashes_make_the_queue_shorter(make_calls: Callable[[int], Calls], hasher: ControlledHasher) -> None:
    calls = make_calls(1)
    hasher.seconds = 10.0
    hasher.proceed.set()
    for _ in range(20):
        calls.start().result(LONG)
    wait_until(lambda: idle(calls))
    hasher.proceed.clear()
    calls.start()
    with pytest.raises(OverloadedError):
        calls.start(remaining=25.0)  # two hashes of 10 s, and half as much again
    calls.start(remaining=30.0)


def test_a_free_core_is_never_refused(make_calls: Callable[[int], Calls], hasher: ControlledHasher) -> None:
    hasher.calibrated = 1000.0  # as measured on a machine that stood still
    calls = make_calls(SLOTS)
    for _ in range(SLOTS):
        calls.start(remaining=1.0)
    with pytest.raises(OverloadedError):
        calls.start(remaining=1.0)


def test_hashes_correct_a_wrong_calibration(make_calls: Callable[[int], Calls], hasher: ControlledHasher) -> None:
    hasher.calibrated = 1000.0
    calls = make_calls(SLOTS)
    hasher.proceed.set()
    for _ in range(50):
        calls.start(remaining=1.0).result(LONG)
    wait_until(lambda: idle(calls))
    hasher.proceed.clear()
    calls.fill()
    calls.start(remaining=5.0)


def test_an_unused_admission_frees_its_place(calls: Calls) -> None:
    for _ in range(20):
        with calls.queue.admit(1.5, never_cancelled, hashes=1):
            pass


def test_the_queue_is_bounded(make_calls: Callable[[int], Calls], hasher: ControlledHasher) -> None:
    hasher.calibrated = 0.0
    calls = make_calls(SLOTS)
    for _ in range(calls.queue.capacity):
        calls.start()
    with pytest.raises(OverloadedError):
        calls.start()


def test_a_cancelled_call_leaves_the_queue(calls: Calls, hasher: ControlledHasher) -> None:
    running = calls.fill()
    queued = [calls.start() for _ in range(3)]
    for cancel in calls.cancels[SLOTS:]:
        cancel()
    for call in queued:
        with pytest.raises(CancelledError):
            call.result(LONG)
    assert waiting() == 0
    hasher.proceed.set()
    for call in running:
        call.result(LONG)
    assert len(hasher.started) == SLOTS
    wait_until(lambda: idle(calls))


def test_a_call_cancelled_before_is_not_begun(calls: Calls) -> None:
    with pytest.raises(CancelledError), calls.queue.admit(LONG, lambda _: False, hashes=1):
        pytest.fail("it was admitted")
    assert idle(calls)


def test_a_hash_of_a_cancelled_call_is_dropped(calls: Calls, hasher: ControlledHasher) -> None:
    call = calls.start()
    calls.cancels[0]()
    hasher.proceed.set()
    with pytest.raises(CancelledError):
        call.result(LONG)
    wait_until(lambda: idle(calls))


def test_waiting_ends_with_the_deadline(calls: Calls) -> None:
    calls.fill()
    hurried = calls.start(remaining=4.0)
    with pytest.raises(TimeoutError):
        hurried.result(LONG)
    assert waiting() == 0


@pytest.mark.parametrize(
    ("method", "request_of", "work"),
    [
        ("DeleteAccount", lambda user_id: user_pb2.DeleteAccountRequest(user_id=user_id, password=PASSWORD), 1),
        (
            "ChangePassword",
            lambda user_id: user_pb2.ChangePasswordRequest(
                user_id=user_id, current_password=PASSWORD, new_password="ripe-avocado"
            ),
            2,
        ),
    ],
)
def test_hashes_leave_time_for_the_change(
    opened: Database,
    make_calls: Callable[[int], Calls],
    hasher: ControlledHasher,
    method: str,
    request_of: Callable[[int], Any],
    work: int,
) -> None:
    hasher.calibrated = (LONG - 1) / 2 / (1 + work)  # planned as twice that, so that the last one ends 1 s before LONG
    calls = make_calls(1)
    monitor = DatabaseMonitor(opened, "DATA_DIR", lambda: None)
    store, accounts, sessions = Store(opened), AccountStore(opened), SessionStore(opened)
    throttle = Throttle(opened, ThrottleMode.OFF)
    server = grpc.server(calls.threads, interceptors=[CallInterceptor(SERVICE, monitor.ask)])
    service = UserService(store, accounts, sessions, dict.fromkeys(Standing, calls.queue), throttle, monitor)
    user_pb2_grpc.add_UserServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monitor.start()
    try:
        wait_until(lambda: monitor.writable)
        user_id = store.add("alice", OLD_HASH)
        calls.start("running")
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, pytest.raises(grpc.RpcError) as refused:
            getattr(user_pb2_grpc.UserServiceStub(channel), method)(request_of(user_id), timeout=LONG)
        assert code_of(refused.value) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert hasher.started == ["running"]
    finally:
        hasher.proceed.set()
        monitor.stop(LONG)
        server.stop(0).wait()


def test_hash_that_would_be_late_is_not_started(calls: Calls, hasher: ControlledHasher) -> None:
    calls.fill()
    late = calls.start(remaining=LONG)
    hasher.seconds = LONG
    hasher.proceed.set()
    with pytest.raises(OverloadedError):
        late.result(LONG)
    assert len(hasher.started) == SLOTS


def test_one_admission_checks_and_hashes(make_calls: Callable[[int], Calls], hasher: ControlledHasher) -> None:
    calls = make_calls(1)

    def change(admission: Admission) -> str:
        assert admission.check("current", OLD_HASH)
        return admission.hash("new")

    with calls.queue.admit(LONG, never_cancelled, hashes=1, checks=1) as admission:
        changing = calls.threads.submit(change, admission)
        wait_until(lambda: hasher.started)
        other = calls.start("other")
        hasher.proceed.set()
        assert changing.result(LONG) == "hash"
    other.result(LONG)
    assert hasher.started == ["current", "new", "other"]


def test_two_hashes_need_twice_the_time(calls: Calls) -> None:
    calls.fill()
    with pytest.raises(OverloadedError), calls.queue.admit(5.0, never_cancelled, hashes=2):
        pytest.fail("it was admitted")
    with calls.queue.admit(5.0, never_cancelled, hashes=1):
        pass


def test_a_check_is_reckoned_as_a_refusal(calls: Calls, hasher: ControlledHasher) -> None:
    hasher.learn(COST + 2)
    calls.fill()
    for refused in (calls.queue.require_room, partial(admitted, calls)):
        with pytest.raises(OverloadedError) as late:
            refused(9.0, checks=1)  # one round of 2 s is ahead of four times as many
        assert late.value.retry_after == 1
        refused(10.0, checks=1)
        refused(4.0, hashes=1)


def test_reserved_checks_make_others_wait_longer(calls: Calls, hasher: ControlledHasher) -> None:
    hasher.learn(COST + 2)
    with ExitStack() as reserved:
        reserved.enter_context(calls.queue.admit(LONG, never_cancelled, checks=1))
        admitted(calls, 2.0, hashes=1)  # on the core that is free
        reserved.enter_context(calls.queue.admit(LONG, never_cancelled, hashes=1))
        admitted(calls, 4.0, hashes=1)  # there after the hash, not after the check
        reserved.enter_context(calls.queue.admit(LONG, never_cancelled, checks=1))
        with pytest.raises(OverloadedError):
            admitted(calls, 9.0, hashes=1)
        admitted(calls, 10.0, hashes=1)


@pytest.mark.parametrize("stored", [hash_of(COST - 2), hash_of(COST + 3), None], ids=["lower", "higher", "nobody"])
def test_estimate_scales_with_the_measured_cost(
    make_calls: Callable[[int], Calls], hasher: ControlledHasher, stored: str | None
) -> None:
    hasher.learn(COST + 1)
    calls = make_calls(1)
    hasher.proceed.set()
    for _ in range(20):
        with calls.queue.admit(LONG, never_cancelled, checks=1) as admission:
            assert admission.check("password", stored) == bool(stored)
    with calls.queue.admit(LONG, never_cancelled, hashes=1):
        with pytest.raises(OverloadedError):
            admitted(calls, 3.5, hashes=1)
        admitted(calls, 4.0, hashes=1)  # two of 2 s each, as calibrated


def test_free_core_is_used_beside_a_double_admission(calls: Calls) -> None:
    with calls.queue.admit(LONG, never_cancelled, hashes=2):
        admitted(calls, 0.5, hashes=1)


def test_a_renewal_waits_for_no_other_hash(calls: Calls, hasher: ControlledHasher) -> None:
    renewed: list[str] = []
    call = calls.start()
    calls.queue.renew("password", OLD_HASH, renewed.append)
    hasher.proceed.set()
    call.result(LONG)
    wait_until(lambda: idle(calls))
    calls.queue.renew("password", hash_of(COST), renewed.append)
    assert not renewed
    calls.queue.renew("password", OLD_HASH, renewed.append)
    wait_until(lambda: renewed == ["hash"])
    wait_until(lambda: idle(calls))


@pytest.mark.parametrize("cost", [COST - 1, COST + 1])
def test_hashes_of_another_cost_are_renewed(calls: Calls, hasher: ControlledHasher, cost: int) -> None:
    renewed: list[str] = []
    hasher.proceed.set()
    calls.queue.renew("password", hash_of(cost), renewed.append)
    wait_until(lambda: renewed == ["hash"])


def test_storing_a_renewed_hash_holds_no_core(make_calls: Callable[[int], Calls], hasher: ControlledHasher) -> None:
    calls = make_calls(1)
    storing, stored = threading.Event(), threading.Event()

    def store(_hashed: str) -> None:
        storing.set()
        stored.wait(LONG)

    hasher.proceed.set()
    calls.queue.renew("password", OLD_HASH, store)
    assert storing.wait(LONG)
    calls.start(remaining=0.5).result(LONG)
    wait_until(lambda: idle(calls))
    calls.queue.renew("another", OLD_HASH, store)
    assert idle(calls), "renewals pile up while the database hangs"
    stored.set()


def test_shutdown_ignores_a_hanging_database(calls: Calls, hasher: ControlledHasher) -> None:
    storing, stored = threading.Event(), threading.Event()

    def store(_hashed: str) -> None:
        storing.set()
        stored.wait()

    hasher.proceed.set()
    calls.queue.renew("password", OLD_HASH, store)
    assert storing.wait(LONG)
    calls.queue.close(timeout=0)
    assert not stored.is_set()
    stored.set()


def test_a_failed_renewal_is_logged_without_secrets(
    calls: Calls, hasher: ControlledHasher, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(hashed: str) -> Any:
        raise RuntimeError(f"hunter2 {hashed}")

    hasher.proceed.set()
    calls.queue.renew("password", OLD_HASH, fail)
    wait_until(lambda: "not renewed" in caplog.text)
    assert "hunter2" not in caplog.text
    wait_until(lambda: idle(calls))
