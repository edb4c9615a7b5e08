"""Typed settings from environment variables, a `.env` file and mounted files."""

from service_kit.settings.load import InvalidSettingsError, ServiceSettings, exit_with, load, load_or_exit
from service_kit.settings.parts import AccessLogSettings, AdminSettings, EtcdSettings, LogSettings, hosts_and_ports
from service_kit.settings.tracing import TracingSettings

__all__ = [
    "AccessLogSettings",
    "AdminSettings",
    "EtcdSettings",
    "InvalidSettingsError",
    "LogSettings",
    "ServiceSettings",
    "TracingSettings",
    "exit_with",
    "hosts_and_ports",
    "load",
    "load_or_exit",
]
