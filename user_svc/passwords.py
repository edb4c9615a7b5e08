"""bcrypt: hashes of passwords, and checks that take the same time whoever is refused."""

import re
import time

import bcrypt

_CALIBRATION_COST = 8

_HASH = re.compile(rb"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")


class Hasher:
    """Makes and checks bcrypt hashes; each call takes a core for its whole time.

    A hash of cost n takes 2**n rounds. Every check of a password that is wrong takes as long as one of this hasher's
    cost, whatever the cost of the stored hash and whether there is one, so that time tells nothing about who exists.
    """

    def __init__(self, cost: int) -> None:
        self.cost = cost
        self._nobody = bcrypt.gensalt(cost) + b"." * 31

    def calibrate(self) -> float:
        """Return the seconds that a hash takes, from the fastest of three short ones: other load only adds to it."""
        return min(_calibration() for _ in range(3)) * 2.0 ** (self.cost - _CALIBRATION_COST)

    def hash(self, password: str) -> str:
        """Return a new hash."""
        return bcrypt.hashpw(password.encode(), bcrypt.gensalt(self.cost)).decode()

    def check(self, password: str, stored: str | None) -> bool:
        """Tell whether the password matches the stored hash; None, or no bcrypt hash, is matched by nothing."""
        secret = password.encode()
        hashed = stored.encode() if stored else self._nobody
        cost = cost_of(hashed)
        if cost is None:
            hashed, cost = self._nobody, self.cost
        matches = bcrypt.checkpw(secret, hashed) and hashed is not self._nobody
        if not matches:
            # A hash of each cost from the stored one's up to today's adds up with the check to one of today's.
            for step in range(cost, self.cost):
                bcrypt.hashpw(secret, bcrypt.gensalt(step))
        return matches

    def is_outdated(self, stored: str) -> bool:
        """Tell whether a hash was made at a lower cost than today's."""
        cost = cost_of(stored.encode())
        return cost is not None and cost < self.cost


def cost_of(hashed: bytes) -> int | None:
    """Return the cost of a bcrypt hash, or None when it is not one that can be checked."""
    parts = _HASH.fullmatch(hashed)
    return int(parts[1]) if parts else None


def _calibration() -> float:
    started = time.perf_counter()
    bcrypt.hashpw(b"", bcrypt.gensalt(_CALIBRATION_COST))
    return time.perf_counter() - started
