"""What clients, thieves, time and backups do to sessions, as a state machine, and what must hold whatever they do."""

from typing import Protocol

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from user_svc.sessions.rules import GRACE, Result

Answer = tuple[Result, int]
"""The result, and the serial of the refresh token to use from now on; 0 when there is none."""

GIVEN = {Result.ROTATED, Result.REPEATED, Result.RECOVERED}
BEYOND_GRACE = GRACE + 1000


class System(Protocol):
    """Where sessions are kept."""

    def open(self) -> bytes: ...

    def refresh(self, session_id: bytes, serial: int) -> Answer: ...

    def wait(self, milliseconds: int) -> None: ...

    def back_up(self) -> None: ...

    def restore(self) -> None:
        """Bring back all sessions as they were; those that were opened later are gone."""


class Chains(RuleBasedStateMachine):
    """One client that stores what it gets, and somebody who copies its tokens now and then."""

    def __init__(self, system: System) -> None:
        super().__init__()
        self.system = system
        self.session = b""
        self.held = self.stolen = 0
        self.is_stolen_from = self.is_backed_up = self.is_restored = False
        self.log_in()

    def log_in(self) -> None:
        self.session = self.system.open()
        self.held, self.stolen = 1, 0
        self.is_stolen_from = self.is_restored = False

    @rule()
    def present(self) -> None:
        result, serial = self.system.refresh(self.session, self.held)
        if result in GIVEN:
            assert serial >= self.held
            self.held = serial
        else:
            self.lose_session(result)

    @rule()
    def lose_the_answer(self) -> None:
        result, _ = self.system.refresh(self.session, self.held)
        if result not in GIVEN:
            self.lose_session(result)

    def lose_session(self, result: Result) -> None:
        """Nothing but a thief ends a session; a restored database only does not know the newest token."""
        if result is Result.UNKNOWN:
            assert self.is_restored
        else:
            assert result in {Result.REUSED, Result.REUSED_BEFORE}
            assert self.is_stolen_from
        self.log_in()

    @rule()
    def steal(self) -> None:
        self.stolen = self.held

    @precondition(lambda self: self.stolen)
    @rule()
    def present_what_was_stolen(self) -> None:
        self.is_stolen_from = True
        result, serial = self.system.refresh(self.session, self.stolen)
        self.stolen = serial if result in GIVEN else 0

    @rule(milliseconds=st.sampled_from([1, 5_000, GRACE - 1000, BEYOND_GRACE, 86_400_000]))
    def wait(self, milliseconds: int) -> None:
        self.system.wait(milliseconds)

    @rule()
    def back_up(self) -> None:
        self.system.back_up()
        self.is_backed_up = True

    @precondition(lambda self: self.is_backed_up)
    @rule()
    def restore(self) -> None:
        self.system.restore()
        self.is_restored = True

    @precondition(lambda self: self.stolen)
    @rule()
    def use_by_both(self) -> None:
        """Beyond GRACE a chain that two parties use is at its end after three presentations, or four after a restore.

        A restored database gives serials again that were given before, to any client that presents a known one.
        """
        self.is_stolen_from = True
        results = []
        for party in ("held", "stolen", "held", "stolen")[: 4 if self.is_restored else 3]:
            self.system.wait(BEYOND_GRACE)
            result, serial = self.system.refresh(self.session, getattr(self, party))
            results.append(result)
            if result not in GIVEN:
                break
            setattr(self, party, serial)
        if not (self.is_restored and results[-1] is Result.UNKNOWN):
            assert results[-1] in {Result.REUSED, Result.REUSED_BEFORE}
        self.log_in()
