"""Causes: the reason of a symptom, or of one at the next restart."""

from typing import Any

from monitoring.limits import (
    BAD_TOKENS,
    CERTIFICATE_DAYS,
    CERTIFICATE_LAST_DAY,
    FEWEST_BAD,
    GATEWAY,
    GUESSES,
    PASSWORD_ROUTES,
    POOL_IN_USE,
    RECOVERED,
    REFUSED_HASHES,
    REGISTRATIONS,
    REVOCATIONS_AGE,
    SNAPSHOT_AGE,
    USERS,
    Severity,
    pool_in_use,
)
from monitoring.rules.alert import INSTALLATION, Rule, alert

_IN = "in {{ $labels.namespace }}"
_EXPIRY: tuple[tuple[Severity, int], ...] = (("critical", CERTIFICATE_LAST_DAY), ("warning", CERTIFICATE_DAYS))
"""How urgent it is that a certificate has so many days left."""


def gateway_group() -> dict[str, Any]:
    """Return the rules on the gateways' series."""
    sent = f'token_verifications_total{{{GATEWAY},result!~"missing|not_bearer"}}'
    bad = f'token_verifications_total{{{GATEWAY},result!~"ok|expired|revoked|missing|not_bearer"}}'
    throttled = f'client_throttled_total{{{GATEWAY},route=~"{"|".join(PASSWORD_ROUTES)}"}}'
    return {
        "name": "video-platform-gateway-svc",
        "rules": [
            alert(
                "GatewayDown",
                "critical",
                _none_up(GATEWAY),
                wait="1m",
                summary="No gateway answers",
                description="Prometheus can scrape no gateway, so clients most likely reach none either.",
            ),
            _target_down(GATEWAY),
            alert(
                "GatewayFindsNoUserService",
                "critical",
                f"max by ({INSTALLATION}) (users_reachable{{{GATEWAY}}}) == 0",
                wait="1m",
                summary=f"No gateway {_IN} reaches a user service",
                description="Registering and logging in are answered by 503. Profiles work.",
            ),
            alert(
                "GatewayFindsNoUserService",
                "warning",
                f"users_reachable{{{GATEWAY}}} == 0",
                wait="1m",
                summary=f"A gateway {_IN} reaches no user service",
                description="{{ $labels.instance }} answers registering and logging in by 503. Its log has the cause.",
            ),
            *_mounted_files(GATEWAY),
            _authentication_off(GATEWAY),
            alert(
                "RegistrySnapshotStale",
                "warning",
                f"registry_snapshot_age_seconds{{{GATEWAY}}} > {SNAPSHOT_AGE}",
                wait="1m",
                threshold=("> {}", SNAPSHOT_AGE),
                summary=f"A gateway {_IN} has lost the registry",
                description=(
                    "{{ $labels.instance }} last heard of etcd {{ $value | humanizeDuration }} ago. It goes on with "
                    "the user services that it knows, and learns of no new ones."
                ),
            ),
            alert(
                "RevocationsStale",
                "warning",
                f"revocations_age_seconds{{{GATEWAY}}} > {REVOCATIONS_AGE}",
                wait="1m",
                threshold=("> {}", REVOCATIONS_AGE),
                summary=f"A gateway {_IN} does not learn of logouts",
                description=(
                    "{{ $labels.instance }} last read what was revoked {{ $value | humanizeDuration }} ago. It goes on "
                    "accepting tokens that were logged out since, until they expire."
                ),
            ),
            alert(
                "KeyReloadFailed",
                "warning",
                f'increase(key_reloads_total{{{GATEWAY},result="failed"}}[5m]) > 0',
                wait="5m",
                summary=f"A gateway {_IN} cannot use the new keys of tokens",
                description=(
                    "{{ $labels.instance }} found JWT_SECRET_FILE or JWT_PREVIOUS_SECRETS_FILE missing, empty, too "
                    "short or no secret, and goes on with the keys before. Gateways with other keys refuse its tokens."
                ),
            ),
            alert(
                "TokenVerificationFailures",
                "warning",
                f"{_total('rate', bad)}\n/\n{_total('rate', sent)}\n> {BAD_TOKENS:g}\n"
                f"and {_total('increase', bad)} >= {FEWEST_BAD}",
                wait="5m",
                threshold=("> {}", BAD_TOKENS),
                summary=f"Gateways {_IN} refuse many tokens",
                description=(
                    "{{ $value | humanizePercentage }} of the tokens that clients send are not ours, though not merely "
                    "expired or revoked: a key was changed without keeping the old one, or somebody tries forged ones."
                ),
            ),
            _guessing(throttled, "addresses that have sent too many wrong ones"),
        ],
    }


def users_group() -> dict[str, Any]:
    """Return the rules on the user services' series."""
    refused = f"password_hash_rejected_total{{{USERS}}}"
    hashed = f"password_hash_seconds_count{{{USERS}}}"
    reused = f'session_refreshes_total{{{USERS},result="reused"}}'
    recovered = f'session_refreshes_total{{{USERS},result="recovered"}}'
    renewed = f'session_refreshes_total{{{USERS},result=~"rotated|recovered"}}'
    return {
        "name": "video-platform-user-svc",
        "rules": [
            alert(
                "UserServiceDown",
                "critical",
                _none_up(USERS),
                wait="1m",
                summary="No user service answers",
                description="No user service can be scraped: registering and logging in fail, profiles work.",
            ),
            _target_down(USERS),
            *_mounted_files(USERS),
            _authentication_off(USERS),
            alert(
                "RegistryNoLease",
                "critical",
                f"max by ({INSTALLATION}) (registry_lease_held{{{USERS}}}) == 0",
                wait="1m",
                summary=f"No user service {_IN} is registered",
                description=(
                    "No instance holds a lease in etcd. Gateways that run go on with the instances that they know; "
                    "a gateway that starts now finds none and stays not ready."
                ),
            ),
            alert(
                "RegistryLeaseFlapping",
                "warning",
                (
                    "sum without (reason) (\n"
                    f'  increase(registry_registrations_total{{{USERS},reason!="start"}}[15m])\n'
                    f") > {REGISTRATIONS}"
                ),
                threshold=("> {}", REGISTRATIONS),
                summary=f"A user service {_IN} keeps losing its registration",
                description=(
                    "{{ $labels.instance }} had to register {{ $value | humanize }} times in 15 minutes: etcd is "
                    "unwell, or two instances advertise one address."
                ),
            ),
            alert(
                "PasswordHashRefusals",
                "warning",
                f"{_total('rate', refused)}\n/\n"
                f"(\n  {_total('rate', refused)}\n  +\n  {_total('rate', hashed)}\n)\n> {REFUSED_HASHES:g}\n"
                f"and {_total('increase', refused)} >= {FEWEST_BAD}",
                wait="2m",
                threshold=("> {}", REFUSED_HASHES),
                summary=f"User services {_IN} refuse logins and registrations",
                description=(
                    "{{ $value | humanizePercentage }} of the passwords could not be hashed before their callers' "
                    "deadline and were refused. There are fewer cores than logins need, or somebody tries passwords."
                ),
            ),
            _guessing(f"login_throttle_total{{{USERS}}}", "clients, for names that have had too many wrong ones"),
            alert(
                "RefreshTokensReused",
                "warning",
                f"{_total('increase', reused, '1h')} >= {FEWEST_BAD}",
                threshold=(">= {}", FEWEST_BAD),
                summary=f"Sessions {_IN} end because two parties use their refresh tokens",
                description=(
                    "{{ $value | humanize }} sessions ended in an hour because a void refresh token was presented: "
                    "tokens were stolen, or a client keeps old ones."
                ),
            ),
            alert(
                "RefreshRecoveriesHigh",
                "warning",
                f"{_total('rate', recovered)}\n/\n{_total('rate', renewed)}\n> {RECOVERED:g}\n"
                f"and {_total('increase', recovered)} >= {FEWEST_BAD}",
                wait="10m",
                threshold=("> {}", RECOVERED),
                summary=f"Answers to refreshes {_IN} get lost",
                description=(
                    "{{ $value | humanizePercentage }} of the refreshes repeat one whose answer did not arrive: "
                    "something between clients and gateways cuts connections, or a client does not store what it gets."
                ),
            ),
            alert(
                "DatabasePoolExhausted",
                "warning",
                f"{pool_in_use(USERS)} >= {POOL_IN_USE}",
                wait="1m",
                threshold=(">= {}", POOL_IN_USE),
                summary=f"A user service {_IN} runs out of database connections",
                description=(
                    "{{ $labels.instance }} uses {{ $value | humanizePercentage }} of its connections. Calls that get "
                    "none within a second fail."
                ),
            ),
            alert(
                "DatabaseUnavailable",
                "critical",
                f'max by ({INSTALLATION}) (serving_status{{{USERS},service="user.v1.UserService"}}) == 0',
                wait="1m",
                summary=f"No user service {_IN} reaches its database",
                description="No instance is serving: registering and logging in are answered by 503. Profiles work.",
            ),
            alert(
                "DatabaseReadOnly",
                "critical",
                f"max by ({INSTALLATION}) (database_read_only{{{USERS}}}) == 1",
                wait="1m",
                summary=f"The database {_IN} accepts no writes",
                description="Registering and all about sessions is answered by 503. /api/login and profiles work.",
            ),
        ],
    }


def _guessing(throttled: str, of: str) -> Rule:
    return alert(
        "PasswordGuessing",
        "warning",
        f"{_total('increase', throttled, '15m')} >= {GUESSES}",
        threshold=(">= {}", GUESSES),
        summary=f"Somebody guesses passwords {_IN}",
        description=(
            f"{{{{ $value | humanize }}}} passwords came in a quarter of an hour from {of}. Unless THROTTLE_MODE is "
            "observe, they were refused."
        ),
    )


def _total(function: str, series: str, over: str = "5m") -> str:
    return f"sum by ({INSTALLATION}) ({function}({series}[{over}]))"


def _none_up(selector: str) -> str:
    return f"sum by ({INSTALLATION}) (up{{{selector}}}) == 0\nor\nabsent(up{{{selector}}})"


def _target_down(selector: str) -> Rule:
    return alert(
        "TargetDown",
        "warning",
        f"up{{{selector}}} == 0",
        wait="2m",
        summary=f"An instance of {{{{ $labels.job }}}} {_IN} cannot be scraped",
        description="{{ $labels.instance }} does not answer on its admin port. The other instances carry its load.",
    )


def _authentication_off(selector: str) -> Rule:
    return alert(
        "RegistryAuthenticationOff",
        "warning",
        f"max by ({INSTALLATION}) (registry_auth_off{{{selector}}}) == 1",
        wait="5m",
        summary=f"The etcd of {{{{ $labels.job }}}} {_IN} checks no passwords",
        description=(
            "ETCD_USERNAME is set, but etcd's authentication is off: anyone who reaches etcd can register instances, "
            "which then receive calls."
        ),
    )


def _mounted_files(selector: str) -> tuple[Rule, ...]:
    left = f"tls_certificate_expiry_seconds{{{selector}}} - time()"
    expires = [
        alert(
            "TlsCertificateExpires",
            severity,
            f"{left} < {days} * 86400",
            wait="10m",
            threshold=("< {} * 86400", days),
            summary=f"A certificate of {{{{ $labels.job }}}} {_IN} expires",
            description=(
                "The certificate in {{ $labels.file }} of {{ $labels.instance }} expires in "
                "{{ $value | humanizeDuration }}. Connections that need it fail from then on."
            ),
        )
        for severity, days in _EXPIRY
    ]
    unusable = alert(
        "MountedFileUnusable",
        "warning",
        f'increase(file_reloads_total{{{selector},result="failed"}}[5m]) > 0',
        wait="5m",
        summary=f"A mounted file of {{{{ $labels.job }}}} {_IN} cannot be used",
        description=(
            "{{ $labels.file }} of {{ $labels.instance }} is missing, malformed, expired or does not fit its key. The "
            "one before is kept in use; a process that restarts now does not start."
        ),
    )
    return (*expires, unusable)
