"""Mounted files that are read again when they change: certificates, keys, passwords."""

from service_kit.files.certificates import Certificates, TlsFiles, Use
from service_kit.files.reader import INTERVAL, File, MountedFiles, Reader, UnusableFileError, password

__all__ = [
    "INTERVAL",
    "Certificates",
    "File",
    "MountedFiles",
    "Reader",
    "TlsFiles",
    "UnusableFileError",
    "Use",
    "password",
]
