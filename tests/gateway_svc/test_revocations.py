"""What was revoked: the rules for a token, and the feed that they come from."""

import asyncio
import math
import secrets
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import httpx
import jwt
import pytest

from gateway_svc.health import Health
from gateway_svc.revocations import RevocationFeed, Revocations, feed
from gateway_svc.tokens import Identity, Kind
from gateway_svc.users_client import UsersClient
from protos.user.v1 import user_pb2
from tests.gateway_svc.conftest import SECRET, StartGateway, admin
from tests.support.process import Process
from tests.support.users_stub import UsersStub
from tests.support.wait import wait_until

Row = user_pb2.ListRevocationsResponse.Revocation
NOW = int(time.time())


def identity(
    kind: Kind = Kind.LOGIN, *, generation: int | None = 0, issued: int = NOW, revocation_id: bytes = b"t" * 16
) -> Identity:
    return Identity(7, "abc", issued + 86400, kind, revocation_id, None if kind is Kind.LEGACY else generation, issued)


def user(generation: int, *, disabled: bool = False, at: int = NOW, row: int = 1, expires: int = NOW + 86400) -> Row:
    subject = user_pb2.ListRevocationsResponse.User(user_id=7, generation=generation, disabled=disabled)
    return Row(at=at * 1000, id=row, user=subject, expires_at=expires)


def ended(revocation_id: bytes, expires: int = NOW + 900, at: int = NOW, row: int = 1) -> Row:
    return Row(at=at * 1000, id=row, ended_id=revocation_id, expires_at=expires)


def known(*rows: Row) -> Revocations:
    revocations = Revocations()
    revocations.add(rows)
    return revocations


def test_an_ended_id_is_refused_alone() -> None:
    revocations = known(ended(b"a" * 16))
    for kind in Kind:
        assert revocations.is_revoked(identity(kind, revocation_id=b"a" * 16))
        assert not revocations.is_revoked(identity(kind, revocation_id=b"b" * 16))


def test_a_generation_ends_those_before_it() -> None:
    revocations = known(user(3))
    assert revocations.is_revoked(identity(generation=2))
    assert not revocations.is_revoked(identity(generation=3))
    assert not revocations.is_revoked(identity(generation=4))


@pytest.mark.parametrize(("later", "revoked"), [(-3600, True), (0, True), (30, True), (31, False)])
def test_a_token_without_a_generation_must_be_younger(later: int, *, revoked: bool) -> None:
    assert known(user(3)).is_revoked(identity(Kind.LEGACY, issued=NOW + later)) is revoked


def test_disabling_a_user_ends_tokens_without_generation() -> None:
    young = identity(Kind.LEGACY, issued=NOW + 3600)
    assert known(user(3, disabled=True)).is_revoked(young)
    assert not known(user(3, disabled=True), user(4, row=2)).is_revoked(young)


def test_the_order_of_rows_does_not_matter() -> None:
    for rows in ([user(3), user(4, row=2)], [user(4, row=2), user(3)], [user(4, row=2), user(4, row=2), user(3)]):
        assert known(*rows).is_revoked(identity(generation=3))


def test_a_listed_row_corrects_what_was_known_locally() -> None:
    revocations = Revocations()
    revocations.end_all(7, 3)
    assert revocations.is_revoked(identity(Kind.LEGACY))
    revocations.add([user(3, at=NOW - 3600)])
    assert not revocations.is_revoked(identity(Kind.LEGACY))
    revocations.end_all(7, 3)
    assert not revocations.is_revoked(identity(Kind.LEGACY))


def test_entries_leave_when_no_token_lives() -> None:
    over = NOW - 3600
    revocations = known(ended(b"a" * 16), ended(b"b" * 16, 0), user(1))
    assert len(known(ended(b"c" * 16, over), user(1, expires=over))) == 0
    revocations.end(b"d" * 16, over)
    assert len(revocations) == 4
    asyncio.run(revocations.drop_expired())
    assert len(revocations) == 3
    disabled = known(user(1, disabled=True, expires=over))
    asyncio.run(disabled.drop_expired())
    assert len(disabled) == 1


def test_ten_thousand_revocations_take_little_memory() -> None:
    rows = [ended(secrets.token_bytes(16)) for _ in range(10_000)]
    revocations = Revocations()
    tracemalloc.start()
    try:
        revocations.add(rows)
        assert tracemalloc.get_traced_memory()[0] < 5 * 2**20
    finally:
        tracemalloc.stop()
    assert len(revocations) == 10_000


@asynccontextmanager
async def following(stub: UsersStub) -> AsyncIterator[tuple[RevocationFeed, Revocations]]:
    users, revocations = UsersClient(), Revocations()
    users.use(stub.target, lambda: None)
    followed = RevocationFeed(users, revocations)
    task = asyncio.create_task(followed.follow())
    yield followed, revocations
    task.cancel()
    await users.close()


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # what it looks at is not the event loop's alone
            await asyncio.sleep(0.02)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "INTERVAL", 0.02)


@pytest.mark.usefixtures("fast")
def test_all_rows_of_one_moment_are_read() -> None:
    async def check() -> None:
        with UsersStub() as stub:
            for _ in range(3000):
                stub.revoke(ended_id=secrets.token_bytes(16), at=NOW * 1000)
            async with following(stub) as (followed, revocations):
                assert math.isinf(followed.age)
                await until(lambda: followed.age < 5)
                assert len(revocations) == 3000
                assert stub.feed_reads[0] == 0

    asyncio.run(check())


@pytest.mark.usefixtures("fast")
def test_a_row_that_is_committed_late_is_read() -> None:
    async def check() -> None:
        with UsersStub() as stub:
            async with following(stub) as (followed, revocations):
                await until(lambda: len(stub.feed_reads) > 2)
                stub.revoke(ended_id=b"a" * 16, at=int(time.time() - 30) * 1000)
                await until(lambda: len(revocations) == 1)
                assert followed.age < 5

    asyncio.run(check())


@pytest.mark.usefixtures("fast")
def test_rows_are_read_after_a_clock_step_back() -> None:
    async def check() -> None:
        with UsersStub() as stub:
            stub.clock_ahead = 3600
            async with following(stub) as (_, revocations):
                await until(lambda: len(stub.feed_reads) > 2)
                stub.clock_ahead = 0
                stub.revoke(ended_id=b"a" * 16)
                await until(lambda: len(revocations) == 1)

    asyncio.run(check())


@pytest.mark.usefixtures("fast")
def test_all_is_read_again_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "WHOLE_INTERVAL", 0.1)

    async def check() -> None:
        with UsersStub() as stub:
            async with following(stub) as (_, revocations):
                await until(lambda: len(stub.feed_reads) > 2)
                stub.revoke(ended_id=b"a" * 16, at=int(time.time() - 3600) * 1000)
                await until(lambda: len(revocations) == 1)
                assert stub.feed_reads.count(0) > 1

    asyncio.run(check())


@pytest.mark.usefixtures("fast")
def test_an_older_user_service_revokes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        with UsersStub() as stub:
            stub.is_outdated = True
            async with following(stub) as (followed, revocations):
                await until(lambda: followed.age < 5)
                stub.revoke(ended_id=b"a" * 16)
                stub.is_outdated = False
                await until(lambda: len(revocations) == 1)
                stub.is_outdated = True
                await asyncio.sleep(0.1)
                assert len(revocations) == 1

    asyncio.run(check())
    assert [record.message for record in caplog.records if "revocations" in record.message] == [
        "the user service knows no revocations, upgrade it; none are applied until then"
    ]


@pytest.mark.usefixtures("fast")
def test_what_is_known_outlives_the_feed(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(feed, "STALE_AFTER", 0.1)
    caplog.set_level("INFO", "gateway_svc")

    async def check() -> None:
        with UsersStub() as stub:
            async with following(stub) as (followed, revocations):
                stub.revoke(ended_id=b"a" * 16)
                await until(lambda: len(revocations) == 1)
                for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED):
                    stub.feed_error = code
                    await asyncio.sleep(0.2)
                await until(lambda: followed.age > 0.3)
                await until(lambda: "cannot be read" in caplog.text)
                stub.revoke(ended_id=b"b" * 16)
                stub.feed_error = None
                await until(lambda: len(revocations) == 2)

    asyncio.run(check())
    assert [record.message for record in caplog.records if "revocations" in record.message] == [
        "revocations cannot be read, the known ones are kept",
        "revocations can be read again",
    ]


def test_readiness_waits_for_the_first_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    health = Health()
    health.users_found()
    assert health.readyz() == "what was revoked has not been read yet"
    health.revocations_age = lambda: 0.5
    assert health.readyz() is None
    health.revocations_age = lambda: math.inf
    monkeypatch.setattr("gateway_svc.health.REVOCATIONS_WAIT", 0)
    assert health.readyz() is None


def test_broken_feed_fails_open_and_is_visible(start_gateway: StartGateway) -> None:
    def age(gateway: Process) -> float:
        (line,) = [each for each in admin(gateway, "/metrics").text.splitlines() if each.startswith("revocations_age")]
        return float(line.split()[1])

    with UsersStub() as stub:
        stub.feed_error = grpc.StatusCode.UNAVAILABLE
        gateway = start_gateway(wait=False, USER_SERVICE_TARGET=stub.target)
        wait_until(lambda: "not been read yet" in admin(gateway, "/readyz").text, what="the gateway to wait")
        assert math.isinf(age(gateway))
        stub.feed_error = None
        wait_until(lambda: admin(gateway, "/readyz").status_code == 200, what="the gateway to be ready")
        assert age(gateway) < 5

        token = jwt.encode({"user_id": 7, "username": "abc", "gen": 0, "exp": NOW + 3600}, SECRET, "HS256")
        headers = {"Authorization": f"Bearer {token}"}

        def status() -> int:
            return httpx.get(f"http://127.0.0.1:{gateway.port}/api/profile", headers=headers).status_code

        stub.feed_error = grpc.StatusCode.UNAVAILABLE
        stub.revoke(user=user_pb2.ListRevocationsResponse.User(user_id=7, generation=1), expires_at=NOW + 86400)
        wait_until(lambda: age(gateway) > 3, what="the age to rise")
        assert status() == 200
        stub.feed_error = None
        wait_until(lambda: status() == 401, 5, what="the token to be refused")
        revoked = 'token_verifications_total{result="revoked"} 1.0'
        assert revoked in admin(gateway, "/metrics").text
    assert not [record for record in gateway.records if record["level"] == "ERROR"]
