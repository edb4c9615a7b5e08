"""What a resolver shows of what stands in etcd."""

import dataclasses
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from service_kit.registry import EtcdConfig, Instance, Resolver, Snapshot, key
from tests.service_kit.registry.harness import RECOVERY
from tests.support.etcd import NOWHERE, Etcd
from tests.support.etcd_proxy import EtcdProxy
from tests.support.wait import stays, wait_until

A, B, C = (Instance(f"10.0.0.{number}:8888") for number in (1, 2, 3))


def put(etcd: Etcd, prefix: str, *instances: Instance) -> None:
    for instance in instances:
        etcd.put(key(prefix, "user", instance.address), instance.encode(), etcd.grant(600))


def delete(etcd: Etcd, prefix: str, *instances: Instance) -> None:
    for instance in instances:
        etcd.delete(key(prefix, "user", instance.address))


class Following:
    """A resolver and the snapshots that it has told."""

    def __init__(self, endpoint: str, prefix: str, *, linger: float = 15.0, relist: float = 5.0) -> None:
        self.told: list[Snapshot] = []
        self.resolver = Resolver(
            EtcdConfig((endpoint,), timeout=1.0),
            "user",
            prefix=prefix,
            linger=linger,
            relist=relist,
            on_change=self.told.append,
        )

    @property
    def snapshot(self) -> Snapshot:
        assert self.resolver.snapshot is not None
        return self.resolver.snapshot

    @property
    def shown(self) -> tuple[Instance, ...]:
        return self.snapshot.instances

    def tells(self, *instances: Instance) -> bool:
        """Whether the last snapshot that was told has these; it is told a moment after it is there."""
        return self.told[-1].instances == instances


@contextmanager
def following(endpoint: str, prefix: str, *, linger: float = 15.0, relist: float = 60.0) -> Iterator[Following]:
    follower = Following(endpoint, prefix, linger=linger, relist=relist)
    follower.resolver.start()
    wait_until(lambda: follower.told)
    yield follower
    follower.resolver.stop()


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    return f"tests/{request.node.name}"


def test_what_is_there_and_what_comes(etcd: Etcd, prefix: str) -> None:
    put(etcd, prefix, C, A)
    with following(etcd.endpoint, prefix) as seen:
        assert seen.shown == (A, C)
        put(etcd, prefix, B)
        wait_until(lambda: seen.tells(A, B, C))
        assert [snapshot.addresses for snapshot in seen.told] == [
            (A.address, C.address),
            (A.address, B.address, C.address),
        ]


def test_a_changed_record_shows(etcd: Etcd, prefix: str) -> None:
    put(etcd, prefix, A)
    with following(etcd.endpoint, prefix) as seen:
        heavier = dataclasses.replace(A, weight=99)
        put(etcd, prefix, heavier)
        wait_until(lambda: seen.shown == (heavier,))


def test_no_instances_is_a_snapshot_too(etcd: Etcd, prefix: str) -> None:
    with following(etcd.endpoint, prefix) as seen:
        assert [snapshot.instances for snapshot in seen.told] == [()]


def test_other_services_and_prefixes_do_not_count(etcd: Etcd, prefix: str) -> None:
    for service in ("user2", "use", "user-x", "users/user"):
        etcd.put(key(prefix, service, A.address), A.encode(), etcd.grant(600))
    with following(etcd.endpoint, prefix) as seen:
        assert seen.shown == ()
        assert seen.told[0].skipped == 0


@pytest.mark.parametrize("relist", [0.1, 60])
def test_one_that_vanished_lingers(etcd: Etcd, prefix: str, relist: float) -> None:
    put(etcd, prefix, A, B)
    with following(etcd.endpoint, prefix, linger=1.5, relist=relist) as seen:
        delete(etcd, prefix, B)
        stays(lambda: seen.shown == (A, B), 0.6)
        wait_until(lambda: seen.tells(A), RECOVERY)
        assert [snapshot.instances for snapshot in seen.told] == [(A, B), (A,)]


def test_one_that_returns_in_time_never_left(etcd: Etcd, prefix: str) -> None:
    put(etcd, prefix, A, B)
    with following(etcd.endpoint, prefix, linger=3.0, relist=0.1) as seen:
        for _ in range(2):  # each time again
            delete(etcd, prefix, B)
            stays(lambda: seen.shown == (A, B), 1.6)
            put(etcd, prefix, B)
        stays(lambda: seen.shown == (A, B), 1.6)
        assert len(seen.told) == 1


def test_last_endpoints_are_kept_until_replaced(etcd: Etcd, prefix: str) -> None:
    put(etcd, prefix, A, B)
    with following(etcd.endpoint, prefix, linger=0.1, relist=0.1) as seen:
        delete(etcd, prefix, A, B)
        stays(lambda: seen.shown == (A, B), 0.5)
        put(etcd, prefix, C)
        wait_until(lambda: seen.shown == (C,), RECOVERY)


def test_an_etcd_that_is_away_takes_nothing(own_etcd: Etcd, prefix: str) -> None:
    put(own_etcd, prefix, A, B)
    with following(own_etcd.endpoint, prefix, linger=0.4, relist=60) as seen:
        delete(own_etcd, prefix, B)
        wait_until(lambda: seen.snapshot.confirmed_at > seen.told[0].confirmed_at)
        own_etcd.kill()
        stays(lambda: seen.shown == (A, B), 0.7)
        own_etcd.start()
        wait_until(lambda: seen.shown == (A,), RECOVERY)


def test_unusable_records_are_skipped_and_counted(etcd: Etcd, prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    put(etcd, prefix, A)
    lease = etcd.grant(600)
    etcd.put(f"{prefix}/user/junk", b"\xff{", lease)
    etcd.put(f"{prefix}/user/{B.address}", C.encode(), lease)
    etcd.put(f"{prefix}/user/", b"", lease)
    with following(etcd.endpoint, prefix, relist=0.2) as seen:
        assert seen.shown == (A,)
        assert seen.told[-1].skipped == 3
        etcd.put(f"{prefix}/user/more", b"[" * 100_000, lease)
        wait_until(lambda: seen.told[-1].skipped == 4)
        put(etcd, prefix, B)
        wait_until(lambda: seen.tells(A, B))
        assert seen.told[-1].skipped == 3
        before = seen.snapshot
        wait_until(lambda: seen.snapshot is not before)  # it was listed again
        assert caplog.text.count("skipping") == 4, "each one is told once"
        for at in ("junk", "", "more"):
            etcd.delete(f"{prefix}/user/{at}")
        wait_until(lambda: seen.told[-1].skipped == 0)


def test_a_key_without_a_lease_is_no_instance(etcd: Etcd, prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    put(etcd, prefix, A)
    etcd.put(key(prefix, "user", B.address), B.encode())
    with following(etcd.endpoint, prefix) as seen:
        assert (seen.shown, seen.told[-1].skipped) == ((A,), 1)
        etcd.put(key(prefix, "user", C.address), C.encode())
        wait_until(lambda: seen.told[-1].skipped == 2)
        assert seen.shown == (A,)
        assert caplog.text.count("the key has no lease") == 2
        put(etcd, prefix, B)
        wait_until(lambda: seen.shown == (A, B))
        etcd.put(key(prefix, "user", A.address), A.encode())  # it lost its lease
        wait_until(lambda: seen.told[-1].skipped == 2)
        assert seen.snapshot.instances == (A, B), "one that lost its lease lingers as one that vanished does"


def test_a_record_that_turns_bad_lingers(etcd: Etcd, prefix: str) -> None:
    put(etcd, prefix, A, B)
    with following(etcd.endpoint, prefix, linger=60) as seen:
        etcd.put(key(prefix, "user", A.address), b"junk", etcd.grant(600))
        wait_until(lambda: seen.told[-1].skipped == 1)
        assert seen.shown == (A, B)


def test_junk_larger_than_grpcs_default_limit(own_etcd: Etcd, prefix: str) -> None:
    put(own_etcd, prefix, A)
    for number in range(4):
        own_etcd.put(f"{prefix}/user/{number}", b"x" * 1_400_000)
    with following(own_etcd.endpoint, prefix) as seen:
        assert seen.shown == (A,)
        assert seen.told[-1].skipped == 4


def test_a_late_event_does_not_undo_a_list(own_etcd: Etcd, prefix: str) -> None:
    put(own_etcd, prefix, A)
    with EtcdProxy(own_etcd.endpoint) as proxy:
        proxy.hold_answers("Watch", after=1)
        with following(proxy.endpoint, prefix, relist=0.2) as seen:
            put(own_etcd, prefix, B)
            delete(own_etcd, prefix, B)
            listed = proxy.calls["Range"]
            wait_until(lambda: proxy.calls["Range"] >= listed + 2)
            put(own_etcd, prefix, C)
            wait_until(lambda: seen.shown == (A, C))  # a list has seen all three changes
            proxy.release()
            late = Instance("10.0.0.4:8888")
            put(own_etcd, prefix, late)
            wait_until(lambda: late in seen.shown)
            assert all(B not in snapshot.instances for snapshot in seen.told)


def test_lists_are_spaced(etcd: Etcd, prefix: str) -> None:
    put(etcd, prefix, A, B)
    with EtcdProxy(etcd.endpoint) as proxy, following(proxy.endpoint, prefix, relist=0.5) as seen:
        delete(etcd, prefix, B)
        wait_until(lambda: seen.snapshot.confirmed_at > seen.told[0].confirmed_at)
        began, listed = time.monotonic(), proxy.calls["Range"]
        wait_until(lambda: proxy.calls["Range"] >= listed + 4)
        assert time.monotonic() - began > 1.0


@pytest.mark.parametrize("members", [1, 3])
def test_failed_rounds_are_followed_by_pauses(prefix: str, members: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _, high: high)
    with EtcdProxy(NOWHERE) as proxy:
        resolver = Resolver(EtcdConfig((proxy.endpoint,) * members), "user", prefix=prefix)
        began = time.monotonic()
        resolver.start()
        wait_until(lambda: proxy.calls["Range"] >= 5 * members)
        assert time.monotonic() - began > 0.05 + 0.1 + 0.2 + 0.4
        resolver.stop()


def test_each_of_two_members_is_tried(etcd: Etcd, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.sample", lambda members, _: list(members))
    resolver = Resolver(EtcdConfig((NOWHERE, etcd.endpoint)), "user", prefix=prefix)
    resolver.start()
    wait_until(lambda: resolver.snapshot)
    resolver.stop()


def test_there_is_no_snapshot_before_etcd_has_answered(prefix: str) -> None:
    etcd = Etcd()
    follower = Following(etcd.endpoint, prefix)
    follower.resolver.start()
    assert follower.resolver.snapshot is None
    with etcd:
        put(etcd, prefix, A)
        wait_until(lambda: follower.resolver.snapshot and follower.shown == (A,), RECOVERY)
        follower.resolver.stop()


def test_a_snapshot_ages_until_etcd_speaks(own_etcd: Etcd, prefix: str) -> None:
    put(own_etcd, prefix, A)
    with following(own_etcd.endpoint, prefix, relist=0.2) as seen:
        first = seen.told[0]
        wait_until(lambda: seen.snapshot.confirmed_at > first.confirmed_at)
        assert first.age > seen.snapshot.age
        own_etcd.suspend()
        wait_until(lambda: seen.snapshot.age > 1.0)
        own_etcd.resume()
        wait_until(lambda: seen.snapshot.age < 0.9, RECOVERY)
        assert seen.told == [first], "a confirmation is no change"


def test_an_event_confirms(etcd: Etcd, prefix: str) -> None:
    with following(etcd.endpoint, prefix) as seen:
        before = time.monotonic()
        put(etcd, prefix, A)
        wait_until(lambda: seen.tells(A))
        assert before <= seen.told[-1].confirmed_at <= time.monotonic()


def test_a_snapshot_never_changes(etcd: Etcd, prefix: str) -> None:
    put(etcd, prefix, A)
    with following(etcd.endpoint, prefix) as seen:
        snapshot = seen.snapshot
        put(etcd, prefix, B)
        wait_until(lambda: seen.shown == (A, B))
        assert snapshot.instances == (A,)
        with pytest.raises(dataclasses.FrozenInstanceError):
            snapshot.instances = ()  # type: ignore[misc]


def test_a_hook_that_fails_harms_nothing(etcd: Etcd, prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("the hook is broken")

    resolver = Resolver(EtcdConfig((etcd.endpoint,)), "user", prefix=prefix, relist=60, on_change=fail)
    resolver.start()
    for instances in ((A,), (A, B)):
        put(etcd, prefix, *instances)
        wait_until(lambda instances=instances: resolver.snapshot and resolver.snapshot.instances == instances)  # type: ignore[misc]
    assert "the hook is broken" in caplog.text
    assert "restarting the session" not in caplog.text
    resolver.stop()


def test_stopping_while_etcd_hangs_returns_in_time(own_etcd: Etcd, prefix: str) -> None:
    follower = Following(own_etcd.endpoint, prefix, relist=0.1)
    follower.resolver.start()
    wait_until(lambda: follower.resolver.snapshot)
    own_etcd.suspend()
    stopping = threading.Thread(target=follower.resolver.stop, args=(0.2,))
    stopping.start()
    stopping.join(1.2)
    assert not stopping.is_alive()
