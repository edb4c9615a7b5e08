"""The form of an alert."""

from typing import Any

from monitoring.limits import Severity

PREFIX = "VideoPlatform"
"""What every alert's name begins with, so that it is told from those of others in one Alertmanager."""

RUNBOOKS = "docs/runbooks/"
"""What every runbook_url begins with. Who installs the rules may replace it by where the pages are served."""

INSTALLATION = "cluster, namespace, release, job"
"""The labels by which installations are told apart. `cluster` is there where one Prometheus has those of several."""

THRESHOLD = "threshold"
"""What a rule has for the charts, and Prometheus does not know."""

Rule = dict[str, Any]


def alert(
    name: str,
    severity: Severity,
    expr: str,
    *,
    summary: str,
    description: str,
    wait: str = "",
    threshold: tuple[str, float] | None = None,
) -> Rule:
    """Return a rule that fires once `expr` has had results for the duration `wait`.

    Args:
        name: without the prefix, as its page is called.
        severity: who is told.
        expr: PromQL.
        summary: what is wrong, in a few words.
        description: what that means.
        wait: as in a rule's `for`.
        threshold: the part of `expr` that operators may change, with `{}` for its number, and that number.

    Raises:
        ValueError: when `expr` does not have that part.
    """
    rule = {
        "alert": PREFIX + name,
        "expr": expr,
        **({"for": wait} if wait else {}),
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "description": description, "runbook_url": f"{RUNBOOKS}{name}.md"},
    }
    if threshold:
        part, number = threshold[0], f"{threshold[1]:.6g}"
        if part.format(number) not in expr:
            raise ValueError(f"{name}: {part.format(number)!r} is not in {expr!r}")
        rule[THRESHOLD] = {"part": part, "number": number}
    return rule
