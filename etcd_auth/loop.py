"""The loop that reconciles etcd's users and roles, and reports to the readiness probe whether authentication is on."""

import logging

import grpc

from etcd_auth.accounts import Accounts, Refused, Unavailable
from etcd_auth.config import AuthSettings
from service_kit.files import Reader
from service_kit.grpc_tls import open_channel
from service_kit.process import StopSignal

logger = logging.getLogger("etcd_auth")

RELOOK = 0.5
"""Seconds until the next look while etcd is not yet as it should be."""


def run(settings: AuthSettings, stop: StopSignal) -> None:
    """Reconcile until `stop` is requested.

    Raises:
        UnusableFileError: when a mounted file cannot be used at the start.
    """
    reader = Reader(settings.file_poll_interval)
    credentials = settings.etcd_credentials(reader)

    def connect() -> grpc.Channel:
        # etcd is in the same pod: no proxy lies between.
        options = [("grpc.enable_http_proxy", 0)]
        return open_channel(settings.etcd_endpoints[0], options, credentials() if credentials is not None else None)

    accounts = Accounts(connect, settings, reader)
    reader.start()
    _watch_over(accounts, settings, stop)
    reader.stop()
    settings.auth_on_file.unlink(missing_ok=True)


def _watch_over(accounts: Accounts, settings: AuthSettings, stop: StopSignal) -> None:
    said = ""
    in_order = False
    pause = 0.0
    while not stop.wait(pause):
        try:
            changes = accounts.reconcile()
        except Unavailable as error:
            state, on, in_order = str(error), False, False
        except Refused as error:
            state, on = str(error), accounts.auth_is_on
        else:
            state, on = "authentication is on", True
            for change in changes:
                # What was in order and is not any more has been changed by someone else.
                logger.log(logging.WARNING if in_order else logging.INFO, change)
            in_order = True
        # What the readiness probe looks at: an etcd that takes anybody's writes is not ready.
        if on:
            settings.auth_on_file.touch()
        else:
            settings.auth_on_file.unlink(missing_ok=True)
        if state != said:
            said = state
            logger.log(logging.INFO if on else logging.WARNING, state)
        pause = settings.interval if on else RELOOK
