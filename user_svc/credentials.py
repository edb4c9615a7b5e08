"""Credentials of a database connection, as the mounted files have them when it is made."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from service_kit.files import Reader
from user_svc.dsn import Source


def follow(source: Source, password: Callable[[], str] | None, reader: Reader) -> Source:
    """Return `source` with the newest `password` and the newest certificates for each connection.

    Raises:
        UnusableFileError: when a file cannot be used.
    """
    tls = source.tls
    parts: list[Callable[[], dict[str, Any]]] = []
    if password is not None:
        parts.append(lambda: {"password": password().encode()})  # as bytes, see dsn
    if tls is not None:
        certificates = tls.files.follow(reader)
        context = tls.context(certificates.value)

        def renew() -> None:
            nonlocal context
            context = tls.context(certificates.value)

        certificates.on_change(renew)
        parts.append(lambda: {"ssl": context})
    if not parts:
        return source
    return replace(source, renewed=lambda: {name: value for part in parts for name, value in part().items()})
