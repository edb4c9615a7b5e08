"""The start and the stop of a process, the same for every one of this project.

Settings, logs, metrics and tracing come first, then the ports; then the admin port and the service answer. The first
SIGTERM or SIGINT makes the service drain; then the last spans are exported and the admin port closes.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Protocol, TypeVar

from service_kit import ports
from service_kit.files import UnusableFileError
from service_kit.settings import LogSettings, ServerSettings, exit_with, load_or_exit
from service_kit.telemetry import logs, metrics, tracing
from service_kit.telemetry.admin import AdminServer

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

logger = logging.getLogger(logs.LIFECYCLE)

L = TypeVar("L", bound=LogSettings)
S = TypeVar("S", bound=ServerSettings)


class Server(Protocol):
    """A service whose port is taken when it is made."""

    @property
    def port(self) -> int:
        """The port that it listens on."""

    def livez(self) -> str | None:
        """Return what is wrong with the process, None when nothing is."""

    def readyz(self) -> str | None:
        """Return why no traffic is wanted, None when it is."""

    def run(self, listening: Callable[[], None]) -> None:
        """Serve until a signal arrives, then drain; calls `listening` once requests are answered."""


def start(name: str, settings: type[L]) -> L:
    """Read the settings of the process `name` and configure its logs; exit with code 2 when a setting is at fault."""
    loaded = load_or_exit(settings)
    logs.configure(name, level=loaded.log_level, style=loaded.log_format, instance=loaded.instance)
    return loaded


def serve(name: str, settings: type[S], server: Callable[[S], Server]) -> int:
    """Run the service that `server` makes of its settings, and return the exit code.

    That is 0 when it was told to stop and 1 when a port is taken; exits with code 2 when a setting is at fault.
    """
    loaded = start(name, settings)
    metrics.start()
    if loaded.otel_variables is not None:
        try:
            tracing.start(loaded.otel_variables, service=name, instance=loaded.instance)
        except ValueError as error:
            exit_with([str(error)])
    try:
        running = server(loaded)
        admin = AdminServer(
            ports.listen("ADMIN_PORT", loaded.admin_host, loaded.admin_port), livez=running.livez, readyz=running.readyz
        )
    except ports.PortTakenError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201  # for the person who typed the command
        return 1
    except UnusableFileError as error:
        exit_with([str(error)])
    admin.start()
    running.run(lambda: logger.info("listening", extra={"port": running.port, "admin_port": admin.port}))
    tracing.stop()
    admin.stop()
    logger.info("stopped")
    return 0


class StopSignal:
    """The first SIGTERM or SIGINT; the second one ends the process at once. Must be made in the main thread.

    A thread reads the signals from a pipe (signal.set_wakeup_fd), since Python calls a handler in the main thread only
    when that comes back from what it waits for, which a signal does not always interrupt.
    """

    def __init__(self) -> None:
        self._received = threading.Event()
        pipe, into_pipe = os.pipe()
        os.set_blocking(into_pipe, False)
        signal.set_wakeup_fd(into_pipe)
        for number in _SIGNALS:
            signal.signal(number, lambda _number, _frame: None)
        threading.Thread(target=self._follow, args=(pipe,), name="signals", daemon=True).start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the signal, `timeout` seconds at most, and return whether it came."""
        return self._received.wait(timeout)

    def _follow(self, pipe: int) -> None:
        while True:
            (number,) = os.read(pipe, 1)
            if number not in _SIGNALS:  # the pipe gets all signals that have a handler
                continue
            if self._received.is_set():
                os._exit(128 + number)
            self._received.set()


def stop_events() -> tuple[asyncio.Event, asyncio.Event]:
    """Return what the first SIGTERM or SIGINT sets, and what the second one sets, in the running event loop."""
    loop, stop, at_once = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    stopping = False

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        if loop.is_closed():
            os._exit(128 + number)
        loop.call_soon_threadsafe(at_once.set if stopping else stop.set)
        stopping = True

    for number in _SIGNALS:
        signal.signal(number, handle)
    return stop, at_once
