"""The dashboards, by the chart that ships them and the name of their file."""

from collections.abc import Callable

from grafana_foundation_sdk.builders.dashboard import Dashboard

from monitoring.dashboards import platform, registry, user_service

FILES: dict[str, dict[str, Callable[[], Dashboard]]] = {
    "gateway-svc": {"platform": platform.build, "registry": registry.build},
    "user-svc": {"user-service": user_service.build},
}
