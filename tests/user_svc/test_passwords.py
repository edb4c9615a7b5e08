"""bcrypt: what matches a hash, and that no refusal is quicker than another."""

from collections.abc import Callable
from typing import Any

import bcrypt
import pytest

from user_svc.passwords import Hasher, cost_of

COST = 6


@pytest.fixture
def hasher() -> Hasher:
    return Hasher(COST)


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


def test_a_new_hash_matches_only_its_password(hasher: Hasher) -> None:
    made = hasher.hash("密码password")
    assert cost_of(made.encode()) == COST
    assert hasher.check("密码password", made)
    assert not hasher.check("密码passwordx", made)


@pytest.mark.parametrize("prefix", ["2a", "2b", "2y"])
def test_hashes_of_other_systems_match(hasher: Hasher, prefix: str) -> None:
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
def test_text_that_is_no_hash_matches_nothing(hasher: Hasher, held: str | None) -> None:
    assert not hasher.check("password", held)


def test_every_refusal_costs_the_same_rounds(hasher: Hasher, monkeypatch: pytest.MonkeyPatch) -> None:
    held = [None, "garbage", *(stored("password", cost) for cost in (4, 5, COST))]
    assert [work(hasher, monkeypatch, "wrong", each) for each in held] == [(False, 2**COST)] * len(held)


def test_only_a_lower_cost_is_outdated(hasher: Hasher) -> None:
    assert [hasher.is_outdated(stored("password", cost)) for cost in (COST - 1, COST, COST + 1)] == [True, False, False]
    assert not hasher.is_outdated("garbage")
