"""`python -m etcd_auth`: looks every few seconds, and puts right what is missing, until SIGTERM."""

import logging
import signal
import sys
import threading

import grpc

from etcd_auth.accounts import Accounts, Refused, Unavailable
from etcd_auth.config import AuthSettings
from service_kit.settings import load_or_exit
from service_kit.telemetry import logs

logger = logging.getLogger("etcd_auth")

RELOOK = 0.5
"""Seconds until the next look while etcd is not yet as it should be."""


def main() -> int:
    """Run until SIGTERM or SIGINT, and return the exit code."""
    settings = load_or_exit(AuthSettings)
    logs.configure("etcd_auth", level=settings.log_level, style=settings.log_format)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    # etcd is in the same pod: no proxy lies between.
    channel = grpc.insecure_channel(settings.etcd_endpoints[0], [("grpc.enable_http_proxy", 0)])
    with channel:
        _watch_over(Accounts(channel, settings), settings, ended)
    settings.auth_on_file.unlink(missing_ok=True)
    return 0


def _watch_over(accounts: Accounts, settings: AuthSettings, ended: threading.Event) -> None:
    said = ""
    while not ended.is_set():
        try:
            changes = accounts.reconcile()
        except Unavailable as error:
            state, on = str(error), False
        except Refused as error:
            state, on = str(error), accounts.auth_is_on
        else:
            state, on = "authentication is on", True
            for change in changes:
                logger.info(change)
        # What the readiness probe looks at: an etcd that takes anybody's writes is not ready.
        if on:
            settings.auth_on_file.touch()
        else:
            settings.auth_on_file.unlink(missing_ok=True)
        if state != said:
            said = state
            logger.log(logging.INFO if on else logging.WARNING, state)
        ended.wait(settings.interval if on else RELOOK)


if __name__ == "__main__":
    sys.exit(main())
