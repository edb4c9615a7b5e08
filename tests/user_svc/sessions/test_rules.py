"""The rules of refresh tokens."""

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.user_svc.sessions.chains import Chains
from tests.user_svc.sessions.model import Model
from user_svc.sessions.rules import GRACE, IDLE, LIFETIME, Result, Session, decide
from user_svc.sessions.store import REFRESH_SECONDS


def session(**fields: object) -> Session:
    """A session at the serial 5 after 3, not rotated for a while."""
    state: dict[str, object] = {
        "now": GRACE * 10,
        "rotated_at": 0,
        "used_at": 0,
        "expires_at": LIFETIME,
        "end_reason": None,
        "user_id": 1,
        "username": "alice",
        "generation": 7,
        "user_generation": 7,
        "is_disabled": False,
        "serial": 5,
        "previous": 3,
        **fields,
    }
    return Session(**state)  # type: ignore[arg-type]


def test_chains_keep_their_promises() -> None:
    run_state_machine_as_test(
        lambda: Chains(Model()),  # type: ignore[arg-type]
        settings=settings(max_examples=300, stateful_step_count=40, deadline=None),
    )


@pytest.mark.parametrize(
    ("presented", "since_rotation", "result"),
    [
        (5, GRACE, Result.ROTATED),
        (5, GRACE - 1, Result.REPEATED),
        (3, GRACE - 1, Result.REPEATED),
        (3, GRACE, Result.RECOVERED),
        *((n, moment, Result.REUSED) for n in (1, 2, 4) for moment in (GRACE - 1, GRACE)),
        *((n, moment, Result.UNKNOWN) for n in (0, 6, 2**32 - 1) for moment in (GRACE - 1, GRACE)),
    ],
)
def test_a_presented_serial_has_one_meaning(presented: int, since_rotation: int, result: Result) -> None:
    assert decide(session(rotated_at=GRACE * 10 - since_rotation), presented) is result


def test_unrotated_session_has_no_previous_serial() -> None:
    assert decide(session(serial=1, previous=0), 0) is Result.UNKNOWN


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        ({"is_disabled": True, "end_reason": "logout"}, Result.DISABLED),
        ({"end_reason": "logout", "now": LIFETIME}, Result.ENDED),
        ({"end_reason": "logout_all"}, Result.ENDED),
        ({"end_reason": "limit"}, Result.ENDED),
        ({"end_reason": "of a later version"}, Result.ENDED),
        ({"end_reason": "reused"}, Result.REUSED_BEFORE),
        ({"end_reason": "password_changed"}, Result.PASSWORD_CHANGED),
        ({"user_generation": 8}, Result.ENDED),
        ({"now": IDLE}, Result.EXPIRED),
        ({"now": LIFETIME, "used_at": LIFETIME - 1}, Result.EXPIRED),
    ],
)
@pytest.mark.parametrize("presented", [5, 3, 1])
def test_ended_sessions_do_not_change(fields: dict[str, object], result: Result, presented: int) -> None:
    assert decide(session(**fields), presented) is result


def test_an_unknown_session() -> None:
    assert decide(None, 1) is Result.UNKNOWN


def test_a_refresh_takes_less_than_grace() -> None:
    assert REFRESH_SECONDS * 1000 < GRACE
