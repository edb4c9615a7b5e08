"""Typed settings from environment variables, a `.env` file and mounted files."""

from settings.load import InvalidSettingsError, ServiceSettings, load, load_or_exit
from settings.parts import AdminSettings, EtcdSettings, LogSettings, hosts_and_ports

__all__ = [
    "AdminSettings",
    "EtcdSettings",
    "InvalidSettingsError",
    "LogSettings",
    "ServiceSettings",
    "hosts_and_ports",
    "load",
    "load_or_exit",
]
