"""The objectives and limits, each in one place: alerts fire by them and dashboards colour by them."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["critical", "warning"]
"""Critical wakes somebody up; a warning waits for the morning."""

GATEWAY = 'job="gateway-svc"'
"""Selects the gateways' series. The charts add the namespace and the release, in every rule that has this."""
USERS = 'job="user-svc"'
"""Selects the user services' series; otherwise like GATEWAY."""
JOBS = 'job=~"gateway-svc|user-svc"'

LOGIN = "/api/login"
HASHING_ROUTES = (LOGIN, "/api/register", "/api/sessions", "/api/password", "/api/account/delete")
"""Routes that hash a password, which takes about a second of a core; the list of sessions shares its route with one."""
PASSWORD_ROUTES = (LOGIN, "/api/sessions")
"""Routes whose wrong passwords are counted by address."""
OPERATION = 'method!="other"'
"""Selects the routes that there are: unknown paths, which can be asked for in any number, must not hide errors."""

AVAILABILITY = 0.999
"""Of an operation's requests, the part that is not answered by a 5xx over 30 days."""
PROMPTNESS = 0.99
"""Of an operation's requests, the part that is answered within HASHING_SECONDS or FAST_SECONDS over 30 days."""
HASHING_SECONDS = 2.5
FAST_SECONDS = 0.1

FEWEST_BAD = 10
"""Failed requests from which an alert fires; one of five at night is no reason."""


@dataclass(frozen=True, slots=True)
class Burn:
    """An error budget that is spent `factor` times as fast as it lasts, over both windows.

    The pairs are those of the Site Reliability Workbook, chapter 5, "Multiwindow, Multi-Burn-Rate Alerts".
    """

    severity: Severity
    long: str
    short: str
    factor: float


BURNS = (
    Burn("critical", "1h", "5m", 14.4),  # 2 % of the month's budget in an hour
    Burn("critical", "6h", "30m", 6),  # 5 % in six hours
    Burn("warning", "1d", "2h", 3),  # 10 % in a day
    Burn("warning", "3d", "6h", 1),  # 10 % in three days
)

SNAPSHOT_AGE = 30
"""Seconds; a gateway lists the registry every 5."""
REVOCATIONS_AGE = 30
"""Seconds; a gateway reads revocations every second."""
REGISTRATIONS = 3
"""Repeated registrations in a quarter of an hour. A restart of etcd takes one, or two when its data are lost."""
REFUSED_HASHES = 0.05
"""Of the passwords to hash, the part that is refused."""
POOL_IN_USE = 0.9
"""Of the database connections that one user service may have, the part that is in use."""
CERTIFICATE_DAYS = 7
"""Days that a certificate should still be valid: cert-manager renews those of its usual 90 days 30 days before."""
CERTIFICATE_LAST_DAY = 1
"""Days after which connections fail unless somebody acts now."""
BAD_TOKENS = 0.2
"""Share of invalid tokens among those sent. Expired ones do not count: every client has one a day."""
GUESSES = 100
"""Tries in a quarter of an hour that came too soon after wrong ones: a client with an old password makes a few."""

RECOVERED = 0.05
"""Of the refreshes that give a new token, the part that follows on a lost answer; phones lose one now and then."""


def pool_in_use(selector: str) -> str:
    """Return the query of that part, by instance."""
    return f'db_pool_connections{{{selector},state="in_use"}} / ignoring(state) db_pool_connections_max{{{selector}}}'
