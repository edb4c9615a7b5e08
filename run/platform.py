"""Start etcd, the user services and the gateway; say when they are ready; stop them in order."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping

from run.config import (
    HOST,
    RunSettings,
    answers,
    environment,
    gateway_environment,
    keep_private,
    taken_ports,
    user_environment,
)
from run.etcd import EtcdError, etcd
from run.services import Services
from service_kit.settings import load_or_exit


class _StopRequest:
    """Whether a signal has asked for the end; an exception could strike between a start and its being noted."""

    def __init__(self) -> None:
        self.received = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)
        # a terminal that was closed; honcho knows the other two only
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))

    def _note(self, *_: object) -> None:
        self.received = True


def run() -> int:
    """Run everything until a signal or the end of a process; return the exit code."""
    settings = load_or_exit(RunSettings)
    stop = _StopRequest()
    try:
        if problems := taken_ports(settings):
            return _fail(*problems)
        os.umask(0o077)
        keep_private(settings.data_dir)
        if sys.stdout.isatty():
            print("Starting the platform ...")
        with _registry(settings, stop) as (address, process):
            return 0 if stop.received else _serve(settings, stop, address, process)
    except (ValueError, OSError, EtcdError) as error:
        return _fail(str(error))


@contextlib.contextmanager
def _registry(settings: RunSettings, stop: _StopRequest) -> Iterator[tuple[str, subprocess.Popen[bytes] | None]]:
    """Give the address of the etcd to use, and its process when it is our own."""
    if settings.etcd_address:
        yield settings.etcd_address, None
    else:
        with etcd(settings.etcd_port, settings.data_dir, lambda: stop.received) as process:
            yield f"{HOST}:{settings.etcd_port}", process


def _serve(
    settings: RunSettings, stop: _StopRequest, address: str, etcd_process: subprocess.Popen[bytes] | None
) -> int:
    def own(kind: str, index: int) -> Mapping[str, str]:
        return user_environment(settings, index) if kind == "user" else gateway_environment(settings)

    def watch() -> None:
        ready = _wait_until_ready(settings, over)
        services.console.starting = False
        if ready:
            sys.stdout.write(_welcome(settings, address))
        while etcd_process and not over.wait(0.5):
            if etcd_process.poll() is not None:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def started() -> None:
        # only now: a process that has threads should not fork
        threading.Thread(target=watch, name="watch", daemon=True).start()
        if stop.received:
            os.kill(os.getpid(), signal.SIGTERM)

    services = Services(settings.users, environment(settings, address), own, started)
    over = threading.Event()
    services.loop()
    over.set()
    if etcd_process and etcd_process.poll() is not None:
        return _fail(f"etcd ended with code {etcd_process.returncode}, so everything was stopped")
    if services.ended:
        name, code = services.ended
        _fail(f"{name} ended with code {code}, so everything was stopped; its own lines above say why")
        return code if code > 0 else 1
    return 0


def _wait_until_ready(settings: RunSettings, over: threading.Event) -> bool:
    """Return True when each process says that it is ready, False when all is over before."""
    waiting = [settings.admin_port, *map(settings.user_admin_port, settings.indexes)]
    while waiting:
        if over.wait(0.1):
            return False
        waiting = [port for port in waiting if not answers(port, "/readyz")]
    return True


def _welcome(settings: RunSettings, etcd_address: str) -> str:
    gateway = f"http://{HOST}:{settings.gateway_port}"
    users = ", ".join(f"{HOST}:{settings.user_port + i}" for i in settings.indexes)
    admin = ", ".join(str(port) for port in [settings.admin_port, *map(settings.user_admin_port, settings.indexes)])
    body = '{"username":"testuser123","password":"password123"}'
    post = f"curl -H 'Content-Type: application/json' -d '{body}' {gateway}"
    bold, plain = ("\x1b[1;32m", "\x1b[0m") if sys.stdout.isatty() else ("", "")
    return f"""
{bold}Ready.{plain}
  gateway       {gateway}  (the API as a page: {gateway}/docs)
  user service  {users}
  etcd          {etcd_address}
  admin ports   {admin}  (/livez, /readyz and /metrics of each process, the gateway's first)

Try, in another terminal:
  {post}/api/register
  {post}/api/login
  curl -H "Authorization: Bearer <the token>" {gateway}/api/profile

Ctrl-C stops everything.

"""


def _fail(*sentences: str) -> int:
    for sentence in sentences:
        print(f"error: {sentence}", file=sys.stderr, flush=True)
    return 1
