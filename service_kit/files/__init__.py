"""Mounted files that are read again when they change: certificates, keys, passwords."""

from service_kit.files.certificates import Certificates, TlsFiles, Use
from service_kit.files.reader import (
    INTERVAL,
    Contents,
    File,
    MountedFiles,
    Reader,
    UnusableFileError,
    password,
    text_of,
)

__all__ = [
    "INTERVAL",
    "Certificates",
    "Contents",
    "File",
    "MountedFiles",
    "Reader",
    "TlsFiles",
    "UnusableFileError",
    "Use",
    "password",
    "text_of",
]
