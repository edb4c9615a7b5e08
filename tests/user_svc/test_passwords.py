"""bcrypt: what matches a hash, and that no refusal is quicker than another."""

from collections.abc import Callable
from typing import Any

import bcrypt
import pytest

from user_svc.passwords import Hasher, cost_of, spellings

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
        matches, cost = hasher.check(password, stored)
        assert rounds == 2**cost
        return matches, rounds


def matches(hasher: Hasher, password: str, stored: str | None) -> bool:
    return hasher.check(password, stored)[0]


def stored(password: str, cost: int = COST) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


def test_a_new_hash_matches_only_its_password(hasher: Hasher) -> None:
    made = hasher.hash("密码password")
    assert cost_of(made) == COST
    assert matches(hasher, "密码password", made)
    assert not matches(hasher, "密码passwordx", made)


@pytest.mark.parametrize("prefix", ["2a", "2b", "2y"])
def test_hashes_of_other_systems_match(hasher: Hasher, prefix: str) -> None:
    assert matches(hasher, "password", stored("password").replace("2b", prefix, 1))


NO_HASHES = [
    None,
    "",
    "password",
    "$1$abc$def",
    "$2b$",
    "$2b$99$" + "a" * 53,
    "$2b$06$" + "!" * 53,
    "$2b$17$" + "a" * 53,
    "$2b$31$" + "a" * 53,
    "$2b$06$" + "a" * 52 + "\n",
    "密" * 60,
    "a" * 60,
]


@pytest.mark.parametrize("held", NO_HASHES)
def test_text_that_is_no_hash_matches_nothing(hasher: Hasher, held: str | None) -> None:
    assert not matches(hasher, "password", held)
    assert cost_of(held) is None


def test_every_refusal_costs_the_same_rounds(hasher: Hasher, monkeypatch: pytest.MonkeyPatch) -> None:
    held = [None, "garbage", *(stored("password", cost) for cost in (4, 5, COST))]
    assert [work(hasher, monkeypatch, "wrong", each) for each in held] == [(False, 2**COST)] * len(held)


@pytest.mark.parametrize("highest", [COST + 2, COST + 1, COST, COST - 1, None])
def test_refusals_cost_as_much_as_the_highest_stored(
    hasher: Hasher, monkeypatch: pytest.MonkeyPatch, highest: int | None
) -> None:
    hasher.learn(highest)
    expected = max(COST, highest or 0)
    held = [None, "garbage", *(stored("password", cost) for cost in range(4, expected + 1))]
    assert [work(hasher, monkeypatch, "wrong", each) for each in held] == [(False, 2**expected)] * len(held)
    assert work(hasher, monkeypatch, "password", stored("password", 4)) == (True, 2**4)


def test_higher_costs_are_learned_at_login(hasher: Hasher, monkeypatch: pytest.MonkeyPatch) -> None:
    assert work(hasher, monkeypatch, "wrong", stored("password", COST + 2)) == (False, 2 ** (COST + 2))
    assert work(hasher, monkeypatch, "wrong", None) == (False, 2 ** (COST + 2))
    hasher.learn(None)
    assert work(hasher, monkeypatch, "wrong", None) == (False, 2**COST)


def test_any_other_cost_is_outdated(hasher: Hasher) -> None:
    assert [hasher.is_outdated(stored("password", cost)) for cost in (COST - 1, COST, COST + 1)] == [True, False, True]
    assert not hasher.is_outdated("$2b$17$" + "a" * 53)
    assert not hasher.is_outdated("garbage")


@pytest.mark.parametrize(
    ("typed", "tried"),
    [
        ("password", ["password"]),
        ("pa\u0308ssword", ["pa\u0308ssword", "p\xe4ssword"]),
        ("p\xe4ssword", ["p\xe4ssword"]),
        ("\u1112\u1161\u11ab" * 6, ["\u1112\u1161\u11ab" * 6, "\ud55c" * 6]),
        ("\u212bpassword", ["\u212bpassword", "\xc5password"]),
        ("\U0001d160" * 10, ["\U0001d160" * 10]),  # which is 120 bytes long in NFC, and bcrypt reads 72
    ],
    ids=["ASCII", "NFD", "NFC", "Hangul", "singleton", "too long"],
)
def test_passwords_are_tried_as_sent_and_as_nfc(typed: str, tried: list[str]) -> None:
    assert list(spellings(typed)) == tried
