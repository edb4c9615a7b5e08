"""The dashboards, by the name of their file."""

from collections.abc import Callable

from grafana_foundation_sdk.builders.dashboard import Dashboard

from monitoring.dashboards import platform, registry, user_service

FILES: dict[str, Callable[[], Dashboard]] = {
    "platform": platform.build,
    "registry": registry.build,
    "user-service": user_service.build,
}
