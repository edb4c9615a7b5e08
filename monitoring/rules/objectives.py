"""Symptoms: how fast each operation's error budget is spent, for availability and for latency."""

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from monitoring.limits import (
    AVAILABILITY,
    BURNS,
    FAST_SECONDS,
    FEWEST_BAD,
    GATEWAY,
    HASHING_ROUTES,
    HASHING_SECONDS,
    LOGIN,
    OPERATION,
    PROMPTNESS,
    Burn,
)
from monitoring.rules.alert import INSTALLATION, Rule, alert

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")

FAILED = "cluster_namespace_release_job_route:http_requests_failed"
SLOW = "cluster_namespace_release_job_route:http_requests_slow"

_BY = f"by ({INSTALLATION}, route)"
_HASHING = f'route=~"{"|".join(HASHING_ROUTES)}"'
_OTHERS = f'route!~"{"|".join(HASHING_ROUTES)}"'
_BUCKET = "http_request_duration_seconds_bucket"


@dataclass(frozen=True, slots=True)
class _Objective:
    alert: str
    bad: str
    """A recording of failed requests."""
    goal: float
    route: str
    """Selects the routes."""
    summary: str
    wrong: str
    """The kind of failure, as text."""


_OBJECTIVES = (
    _Objective(
        "LoginErrorBudgetBurn", FAILED, AVAILABILITY, f'route="{LOGIN}"', "Logins fail", "were answered by a 5xx"
    ),
    _Objective(
        "LoginLatencyBudgetBurn",
        SLOW,
        PROMPTNESS,
        f'route="{LOGIN}"',
        "Logins are slow",
        f"took more than {HASHING_SECONDS} s",
    ),
    _Objective(
        "RequestErrorBudgetBurn", FAILED, AVAILABILITY, f'route!="{LOGIN}"', "Requests fail", "were answered by a 5xx"
    ),
    _Objective(
        "RequestLatencyBudgetBurn",
        SLOW,
        PROMPTNESS,
        f'route!="{LOGIN}"',
        "Requests are slow",
        f"took more than {FAST_SECONDS} s ({HASHING_SECONDS} s where a password is hashed)",
    ),
)


def group() -> dict[str, Any]:
    """Return the recording rules and, after them, the alerts: within a group rules are evaluated in their order."""
    return {"name": "video-platform-objectives", "rules": [*_recorded(), *_alerts()]}


def _recorded() -> list[Rule]:
    """Record, for each route and window, how many requests went wrong and which part."""
    rules: list[Rule] = []
    for window in WINDOWS:
        rules += [
            {
                "record": f"{FAILED}:ratio_rate{window}",
                "expr": f"{_failed('rate', window)}\n/\n{_all('rate', window)}",
            },
            {"record": f"{SLOW}:ratio_rate{window}", "expr": f"{_slow('rate', window)}\n/\n{_timed('rate', window)}"},
        ]
        if any(burn.long == window for burn in BURNS):
            rules += [
                {"record": f"{FAILED}:increase{window}", "expr": _failed("increase", window)},
                {"record": f"{SLOW}:increase{window}", "expr": _slow("increase", window)},
            ]
    return rules


def _alerts() -> list[Rule]:
    """Return each alert in a critical and a warning form, of which the first should silence the second."""
    return [
        _burns(objective, tuple(burns))
        for objective in _OBJECTIVES
        for _, burns in groupby(BURNS, key=lambda burn: burn.severity)
    ]


def _burns(objective: _Objective, burns: tuple[Burn, ...]) -> Rule:
    windows = " or ".join(burn.long for burn in burns)
    return alert(
        objective.alert,
        burns[0].severity,
        "\nor\n".join(_burning(objective, burn) for burn in burns),
        summary=f"{objective.summary} in {{{{ $labels.namespace }}}}",
        description=(
            f"{{{{ $value | humanizePercentage }}}} of the requests to {{{{ $labels.route }}}} {objective.wrong} over "
            f"the last {windows}: more than the error budget allows."
        ),
        threshold=("* {}", 1 - objective.goal),
    )


def _burning(objective: _Objective, burn: Burn) -> str:
    series = f"{{{GATEWAY},{objective.route}}}"
    limit = f"{burn.factor:g} * {1 - objective.goal:.6g}"
    return (
        "(\n"
        f"  {objective.bad}:ratio_rate{burn.long}{series} > {limit}\n"
        f"  and {objective.bad}:ratio_rate{burn.short}{series} > {limit}\n"
        f"  and {objective.bad}:increase{burn.long}{series} >= {FEWEST_BAD}\n"
        ")"
    )


def _all(function: str, window: str) -> str:
    return f"sum {_BY} ({function}(http_requests_total{{{GATEWAY},{OPERATION}}}[{window}]))"


def _failed(function: str, window: str) -> str:
    bad = f'sum {_BY} ({function}(http_requests_total{{{GATEWAY},{OPERATION},status=~"5.."}}[{window}]))'
    return f"(\n  {bad}\n  or\n  0 * {_all(function, window)}\n)"  # no series of a 5xx before the first one


def _timed(function: str, window: str) -> str:
    return f"sum {_BY} ({function}(http_request_duration_seconds_count{{{GATEWAY}}}[{window}]))"


def _slow(function: str, window: str) -> str:
    return (
        "(\n"
        f"  {_timed(function, window)}\n"
        "  -\n"
        f"  sum {_BY} (\n"
        f'    {function}({_BUCKET}{{{GATEWAY},{_HASHING},le="{HASHING_SECONDS}"}}[{window}])\n'
        "    or\n"
        f'    {function}({_BUCKET}{{{GATEWAY},{_OTHERS},le="{FAST_SECONDS}"}}[{window}])\n'
        "  )\n"
        ")"
    )
