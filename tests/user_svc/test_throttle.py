"""Those who guess passwords, and those whose passwords are guessed."""

import itertools
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos.user.v1 import user_pb2
from service_kit.settings import ThrottleMode
from tests.support.mariadb import Database as Scratch
from tests.support.process import ROOT, Process
from tests.support.wait import wait_until
from tests.user_svc.client import PASSWORD, Client, code_of, ready_client
from tests.user_svc.sessions.support import execute
from user_svc import dsn, schema
from user_svc.database import Database
from user_svc.purge import Purge
from user_svc.standing import DOUBTED, Standing
from user_svc.store import Account, Store
from user_svc.throttle import FORGOTTEN, FREE, LONGEST, Attempt, Throttle, ThrottledError, pause

DENIED = user_pb2.LoginResponse(code=401, msg="密码错误")
THROTTLED = (grpc.StatusCode.RESOURCE_EXHAUSTED, "too many wrong passwords", {"refusal": "throttled"})
WRONG = "wrong-password"
HOUR = 3_600_000
"""Milliseconds."""
UNHURRIED = 60
"""Seconds that a login may take where no other is made: on a busy machine a hash can take ten."""


def patience() -> float:
    return 5.0


def quiet(database: Database, milliseconds: int) -> None:
    """Let time have passed since the last try, by the database's clock."""
    execute(database, "UPDATE login_failures SET last_at = last_at - :by", by=milliseconds)


def stand_still(database: Database) -> None:
    """Let the last tries be as new as they can be, however slow this machine is."""
    quiet(database, -HOUR)


def failures(database: Database) -> list[int]:
    return sorted(row.failures for row in execute(database, "SELECT failures FROM login_failures"))


@pytest.fixture
def enforcing(opened: Database) -> Throttle:
    return Throttle(opened, ThrottleMode.ENFORCE)


def fail(throttled: Throttle, times: int, name: str = "alice") -> None:
    for attempt in [throttled.attempt(name, None, None, patience) for _ in range(times)]:
        attempt.failed()


def waits(try_again: Callable[[], object]) -> int:
    with pytest.raises(ThrottledError) as refused:
        try_again()
    return refused.value.retry_after


def test_pauses_double_up_to_a_minute() -> None:
    seconds = [pause(failures) / 1000 for failures in range(FREE - 1, FREE + 9)]
    assert seconds == [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert pause(2**32 - 1) == LONGEST


def test_ten_wrong_passwords_are_free(enforcing: Throttle, opened: Database) -> None:
    fail(enforcing, FREE)
    assert failures(opened) == [FREE]
    stand_still(opened)
    assert waits(lambda: enforcing.attempt("ALICE", None, None, patience)) == 1
    enforcing.attempt("bob", None, None, patience).claim()
    quiet(opened, HOUR + 1000)
    again = enforcing.attempt("alice", None, None, patience)
    again.claim()
    again.failed()
    assert failures(opened) == [FREE + 1]
    stand_still(opened)
    assert waits(lambda: enforcing.attempt("alice", None, None, patience)) == 2


def test_throttled_guesses_are_audited(enforcing: Throttle, opened: Database, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(FREE):
        attempt = enforcing.attempt("alice", None, None, patience)
        attempt.claim()
        attempt.failed()
    quiet(opened, pause(FREE))
    attempt = enforcing.attempt("alice", None, None, patience)
    attempt.claim()
    attempt.failed()
    lines = [vars(record) for record in caplog.records if record.name == "user_svc.audit"]
    assert [(line["message"], line["counted_by"], line["failures"]) for line in lines] == [
        ("password_guessing", "account", FREE),
        ("password_guessing", "account", FREE + 1),
    ]
    assert "alice" not in caplog.text
    assert not [line for line in lines if "user_id" in line]


def test_a_turn_is_taken_once(enforcing: Throttle, opened: Database) -> None:
    fail(enforcing, FREE + 2)
    quiet(opened, pause(FREE + 2))
    attempts = [enforcing.attempt("alice", None, None, patience) for _ in range(20)]
    attempts[7].claim()
    stand_still(opened)
    assert {waits(each.claim) for each in attempts} == {4}
    assert failures(opened) == [FREE + 2]


def test_turns_that_are_not_claimed_are_not_lost(enforcing: Throttle, opened: Database) -> None:
    fail(enforcing, FREE)
    quiet(opened, pause(FREE))
    for _ in range(3):
        enforcing.attempt("alice", None, None, patience)
    enforcing.attempt("alice", None, None, patience).claim()


def test_the_right_password_forgets_the_wrong_ones(enforcing: Throttle, opened: Database) -> None:
    fail(enforcing, FREE)
    fail(enforcing, 1, "bob")
    quiet(opened, pause(FREE))
    attempt = enforcing.attempt("alice", None, None, patience)
    attempt.claim()
    attempt.succeeded()
    assert failures(opened) == [1]


def test_a_day_of_quiet_forgets_wrong_passwords(enforcing: Throttle, opened: Database) -> None:
    fail(enforcing, FREE + 5)
    quiet(opened, FORGOTTEN + 1000)
    fail(enforcing, 1)
    assert failures(opened) == [1]
    purger = Purge(opened, lambda: True)
    assert purger.purge() == 0
    quiet(opened, FORGOTTEN + 1000)
    assert purger.purge() == 1


def test_a_device_is_counted_by_itself(enforcing: Throttle, opened: Database) -> None:
    user_id = Store(opened).add("alice", "hash")
    alice = Store(opened).find("alice")
    assert alice is not None
    mine = user_pb2.Device(user_id=user_id, generation=0, id=secrets.token_bytes(16))
    fail(enforcing, FREE)
    stand_still(opened)

    def attempt(device: user_pb2.Device, account: Account | None = alice) -> Attempt:
        return enforcing.attempt("alice", account, device, patience)

    attempt(mine).failed()
    assert failures(opened) == [1, FREE]
    attempt(mine).succeeded()
    assert failures(opened) == [FREE]
    for stranger in (
        user_pb2.Device(user_id=user_id + 1, generation=0, id=mine.id),
        user_pb2.Device(user_id=user_id, generation=1, id=mine.id),
        user_pb2.Device(user_id=user_id, generation=0),
    ):
        assert waits(lambda device=stranger: attempt(device)) == 1  # type: ignore[misc]
    assert waits(lambda: attempt(mine, None)) == 1
    for _ in range(FREE):
        attempt(mine).failed()
    stand_still(opened)
    assert waits(lambda: attempt(mine)) == 1
    attempt(user_pb2.Device(user_id=user_id, generation=0, id=b"another")).claim()


def test_what_seems_to_be_a_guess_is_doubtful(enforcing: Throttle, opened: Database) -> None:
    user_id = Store(opened).add("alice", "hash")
    alice = Store(opened).find("alice")
    device = user_pb2.Device(user_id=user_id, generation=0, id=secrets.token_bytes(16))

    def attempt(name: str = "alice", device: user_pb2.Device | None = None) -> Attempt:
        return enforcing.attempt(name, alice, device, patience)

    with attempt().under_way() as first, attempt("ALICE").under_way() as second, attempt("bob").under_way() as other:
        assert (first, second, other) == (Standing.USUAL, Standing.DOUBTFUL, Standing.USUAL)
        presumed = [enforcing.presume("Alice", with_device=with_device) for with_device in (False, True)]
        assert presumed == [Standing.DOUBTFUL, Standing.OWNER]
        with attempt(device=device).under_way() as owner, attempt(device=device).under_way() as again:
            assert (owner, again) == (Standing.OWNER, Standing.DOUBTFUL)
    assert enforcing.presume("alice", with_device=False) is Standing.USUAL
    with attempt().under_way() as later:
        assert later is Standing.USUAL
    for _ in range(DOUBTED):
        with attempt().under_way() as mistyped:
            assert mistyped is Standing.USUAL
        attempt().failed()
        attempt(device=device).failed()
    with attempt().under_way() as guessed, attempt(device=device).under_way() as owner:
        assert (guessed, owner) == (Standing.DOUBTFUL, Standing.OWNER)


@pytest.mark.parametrize("mode", [ThrottleMode.OBSERVE, ThrottleMode.OFF])
def test_other_modes_refuse_nothing(opened: Database, mode: ThrottleMode) -> None:
    lenient = Throttle(opened, mode)
    for _ in range(FREE + 3):
        attempt = lenient.attempt("alice", None, None, patience)
        attempt.claim()
        attempt.failed()
    assert failures(opened) == ([FREE + 3] if mode is ThrottleMode.OBSERVE else [])


def test_first_failures_at_once_are_all_counted(opened: Database) -> None:
    with ThreadPoolExecutor(4) as threads:
        for number in range(20):
            attempts = [
                Throttle(opened, ThrottleMode.ENFORCE).attempt(f"u{number}", None, None, patience) for _ in range(4)
            ]
            list(threads.map(lambda attempt: attempt.failed(), attempts))
    assert failures(opened) == [4] * 20


def outcome(client: Client, username: str, password: str = WRONG, device: user_pb2.Device | None = None) -> object:
    """What a caller sees of a login, in bytes, without how long it is to wait."""
    try:
        return client.login(username, password, device=device, timeout=UNHURRIED).SerializeToString()
    except grpc.RpcError as error:
        refused: Any = error
        trailing = dict(refused.trailing_metadata())
        assert 1 <= int(trailing.pop("retry-after")) <= 60
        return refused.code(), refused.details(), trailing


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Client, Database]]:
    with Process("user_svc", cwd=tmp_path) as process, ready_client(process) as client:
        database = Database(dsn.sqlite(tmp_path / ".data/users.db"))
        yield client, database
        database.close()


def test_the_page_lets_a_name_in_at_once(database: Scratch) -> None:
    opened = Database(dsn.parse(database.go_dsn))
    schema.upgrade(opened)
    enforcing = Throttle(opened, ThrottleMode.ENFORCE)
    fail(enforcing, FREE, "Alice")
    fail(enforcing, 1, "bob")
    page = (ROOT / "docs" / "users.md").read_text(encoding="utf-8")
    (statement,) = re.findall(r"`(DELETE FROM login_failures [^`]+)`", page)
    database.execute(statement)
    assert failures(opened) == [1]
    opened.close()


def test_right_passwords_at_once_are_no_guesses(own: tuple[Client, Database]) -> None:
    client, database = own
    client.register("alice")
    request = user_pb2.LoginRequest(username="alice", password=PASSWORD)
    calls: list[Any] = [client.users.Login.future(request, timeout=5) for _ in range(150)]
    errors = [error for call in calls if (error := call.exception()) is not None]
    assert len(errors) < 150
    assert not [error for error in errors if "refusal" in dict(error.trailing_metadata())]
    assert failures(database) == []


def test_known_and_unknown_names_are_throttled_alike(own: tuple[Client, Database]) -> None:
    client, database = own
    assert client.register("alice").code == 200
    seen: dict[str, list[object]] = {"alice": [], "nobody": []}
    for _ in range(FREE):
        for username, outcomes in seen.items():
            outcomes.append(outcome(client, username))
    stand_still(database)
    for username, outcomes in seen.items():
        outcomes += [outcome(client, username), outcome(client, username)]
    quiet(database, HOUR + LONGEST)
    for username, outcomes in seen.items():
        outcomes.append(outcome(client, username))
    denied = DENIED.SerializeToString()
    assert seen["alice"] == seen["nobody"] == [*([denied] * FREE), THROTTLED, THROTTLED, denied]
    assert client.metric("login_throttle_total", bucket="account", mode="enforce") == 4
    assert client.metric("password_hash_rejected_total") == 0
    stand_still(database)
    assert outcome(client, "alice", PASSWORD) == THROTTLED


def test_the_owner_with_a_device_is_let_in(own: tuple[Client, Database]) -> None:
    client, database = own
    user_id = client.register("alice").user_id
    device = user_pb2.Device(user_id=user_id, generation=0, id=secrets.token_bytes(16))
    for _ in range(FREE):
        outcome(client, "alice")
    stand_still(database)
    answer = user_pb2.LoginResponse(code=200, msg="登录成功", user_id=user_id, username="alice", generation=0)
    let_in = answer.SerializeToString()
    assert outcome(client, "alice", PASSWORD, device) == let_in
    assert outcome(client, "alice", PASSWORD) == THROTTLED
    assert failures(database) == [FREE]
    quiet(database, HOUR + LONGEST)
    assert outcome(client, "alice", PASSWORD) == let_in
    assert failures(database) == []


def enters(client: Client, username: str, device: user_pb2.Device | None = None) -> bool:
    """Whether the right password is accepted now."""
    try:
        return client.login(username, device=device).code == 200
    except grpc.RpcError:
        return False


@pytest.fixture
def fleet(database: Scratch, tmp_path: Path) -> Iterator[list[Client]]:
    """Three instances, each of which hashes one password at a time."""
    env = {"DB_DSN": database.go_dsn, "HASH_SLOTS": "1"}
    with ExitStack() as stack:
        processes = [stack.enter_context(Process("user_svc", env=env, cwd=tmp_path)) for _ in range(3)]
        yield [stack.enter_context(ready_client(process)) for process in processes]


def hashed(fleet: list[Client]) -> float:
    return sum(client.metric("password_hash_seconds_count") for client in fleet)


def test_five_hundred_guesses_by_three_instances(fleet: list[Client]) -> None:
    client = fleet[0]
    user_id = client.register("alice").user_id
    assert client.register("bob").code == 200
    device = user_pb2.Device(user_id=user_id, generation=0, id=secrets.token_bytes(16))
    before = hashed(fleet)
    requests = [user_pb2.LoginRequest(username="alice", password=f"{WRONG}{number}") for number in range(500)]
    turns = itertools.cycle(fleet)
    calls: list[Any] = [next(turns).users.Login.future(request, timeout=5) for request in requests]
    wait_until(lambda: enters(client, "alice", device), what="the owner to be let in")
    codes = Counter(code_of(call) for call in calls if call.exception() or True)
    late = codes.pop(grpc.StatusCode.DEADLINE_EXCEEDED, 0)  # on a machine that stands still for a moment
    assert 0 < hashed(fleet) - before - 1 <= FREE + len(fleet) - 1 + late
    assert codes.keys() == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert client.login("bob").code == 200
