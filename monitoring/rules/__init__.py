"""Recording rules and alerts, one file of rule groups for each service."""

from typing import Any

from monitoring.rules import causes, objectives

Groups = dict[str, list[dict[str, Any]]]

FILES: dict[str, Groups] = {
    "gateway-svc": {"groups": [objectives.group(), causes.gateway_group()]},
    "user-svc": {"groups": [causes.users_group()]},
}
"""The rule files by the service whose chart installs them."""
