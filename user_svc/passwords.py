"""bcrypt: hashes of passwords, and checks that take the same time for every refusal."""

import re
import time
import unicodedata

import bcrypt

from protos.user.v1 import contract

_CALIBRATION_COST = 8

MAX_COST = 16
"""Of a stored hash; one more round doubles the time, and at 16 a check takes four seconds of a core already."""
_HASH = re.compile(r"\$2[aby]\$(0[4-9]|1[0-6])\$[./A-Za-z0-9]{53}")


class Hasher:
    """Makes and checks bcrypt hashes; each call takes a core for its whole time.

    A hash of cost n takes 2**n rounds. Every check of a password that is wrong takes 2**refusal_cost rounds, whatever
    the cost of the stored hash and whether there is one, so that time tells nothing about who exists.
    """

    def __init__(self, cost: int) -> None:
        self.cost = cost
        """Of new hashes."""
        self.refusal_cost = cost
        """The highest of `cost` and those of the stored hashes, as far as they are known."""

    def calibrate(self) -> float:
        """Return the seconds that a hash takes, from the fastest of three short ones: other load only adds to it."""
        return min(_calibration() for _ in range(3)) / self.share(_CALIBRATION_COST)

    def learn(self, highest: int | None) -> None:
        """Take `highest` as the highest cost of a stored hash, None as there being no hash."""
        self.refusal_cost = max(self.cost, highest or 0)

    def share(self, cost: int) -> float:
        """Return the work of a hash of `cost`, counted in new hashes."""
        return 2.0 ** (cost - self.cost)

    def hash(self, password: str) -> str:
        """Return a new hash."""
        return bcrypt.hashpw(password.encode(), bcrypt.gensalt(self.cost)).decode()

    def check(self, password: str, stored: str | None) -> tuple[bool, int]:
        """Return whether the password matches the stored hash, and the cost of the one hash that takes as long.

        None, or what is no bcrypt hash of cost MAX_COST at most, is matched by nothing.
        """
        secret = password.encode()
        cost = cost_of(stored)
        if stored is None or cost is None:
            bcrypt.hashpw(secret, bcrypt.gensalt(self.refusal_cost))
            return False, self.refusal_cost
        self.refusal_cost = max(self.refusal_cost, cost)
        if bcrypt.checkpw(secret, stored.encode()):
            return True, cost
        # A hash of each cost from the stored one's up adds up with the check to one of the highest cost.
        refusal_cost = self.refusal_cost
        for step in range(cost, refusal_cost):
            bcrypt.hashpw(secret, bcrypt.gensalt(step))
        return False, max(cost, refusal_cost)

    def is_outdated(self, stored: str) -> bool:
        """Tell whether a hash was made at another cost than new ones are."""
        cost = cost_of(stored)
        return cost is not None and cost != self.cost


def cost_of(stored: str | None) -> int | None:
    """Return the cost of a bcrypt hash, or None when it is not one that can be checked."""
    parts = _HASH.fullmatch(stored or "")
    return int(parts[1]) if parts else None


def spellings(password: str) -> tuple[str, ...]:
    """Return the password as it came and, when that differs and can be hashed, in NFC (Unicode, UAX #15).

    Some keyboards compose accents and others do not; most of those who register type NFC.
    """
    composed = unicodedata.normalize("NFC", password)
    if composed == password or not contract.is_bcrypt_password(composed):
        return (password,)
    return password, composed


def _calibration() -> float:
    started = time.perf_counter()
    bcrypt.hashpw(b"", bcrypt.gensalt(_CALIBRATION_COST))
    return time.perf_counter() - started
