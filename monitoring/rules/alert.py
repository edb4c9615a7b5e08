"""The form of an alert."""

from typing import Any

from monitoring.limits import Severity

RUNBOOKS = "docs/runbooks/"
"""What every runbook_url begins with. Who installs the rules may replace it by where the pages are served."""

Rule = dict[str, Any]


def alert(name: str, severity: Severity, expr: str, *, summary: str, description: str, wait: str = "") -> Rule:
    """Return a rule that fires once `expr` has had results for the duration `wait`."""
    return {
        "alert": name,
        "expr": expr,
        **({"for": wait} if wait else {}),
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "description": description, "runbook_url": f"{RUNBOOKS}{name}.md"},
    }
