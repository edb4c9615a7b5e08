"""Typed settings from environment variables, a `.env` file and mounted files."""

from service_kit.settings.load import InvalidSettingsError, ServiceSettings, exit_with, load, load_or_exit
from service_kit.settings.parts import (
    EtcdSettings,
    EtcdTlsSettings,
    FileSettings,
    GrpcTlsSettings,
    LogSettings,
    Port,
    RegistrySettings,
    ServerSettings,
    ThrottleMode,
    goes_with,
    hosts_and_ports,
)
from service_kit.settings.tracing import TracingSettings

__all__ = [
    "EtcdSettings",
    "EtcdTlsSettings",
    "FileSettings",
    "GrpcTlsSettings",
    "InvalidSettingsError",
    "LogSettings",
    "Port",
    "RegistrySettings",
    "ServerSettings",
    "ServiceSettings",
    "ThrottleMode",
    "TracingSettings",
    "exit_with",
    "goes_with",
    "hosts_and_ports",
    "load",
    "load_or_exit",
]
