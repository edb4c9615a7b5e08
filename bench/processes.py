"""Processes that a measurement starts, pins to a core and ends."""

import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

import httpx
import psutil

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / ".venv-run" / "bin" / "python"
"""Has the packages of `make run`, without those of tests: where httpx finds rich and pygments, it imports them."""
SERVER_CORE, CLIENT_CORE = 0, (os.cpu_count() or 2) - 1

START_TIMEOUT = 60.0

JWT_SECRET = "a-secret-for-benches-that-is-long-enough"
CREDENTIALS = {"username": "bench_user", "password": "password123"}
_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "PYTHONPATH": str(ROOT),
    "LISTEN_HOST": "127.0.0.1",
    "LISTEN_PORT": "0",
    "ADMIN_HOST": "127.0.0.1",
    "ADMIN_PORT": "0",
    "DRAIN_DELAY": "0",
    "LOG_FORMAT": "json",
    "JWT_SECRET": JWT_SECRET,
}


class Service:
    """A Python module that runs as a process and writes its log, JSON lines, to a file."""

    def __init__(self, process: psutil.Popen, log: Path) -> None:
        self._process = process
        self._log = log
        self._started = time.monotonic()
        ports = self._ports()
        self.port = int(ports["port"])
        self.url = f"http://127.0.0.1:{self.port}"
        self.target = f"ipv4:127.0.0.1:{self.port}"
        self.admin_url = f"http://127.0.0.1:{ports.get('admin_port')}"

    def _ports(self) -> dict[str, int]:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and self._process.poll() is None:
            for line in self._log.read_bytes().splitlines():
                if b'"listening"' in line:
                    ports: dict[str, int] = json.loads(line)
                    return ports
            time.sleep(0.01)
        raise RuntimeError(f"no service is listening: {self._log.read_text()[-2000:]}")

    def until_ready(self) -> float:
        """Wait until `/readyz` answers 200; returns the seconds since the process was started.

        Raises:
            RuntimeError: when it does not within START_TIMEOUT.
        """
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if httpx.get(f"{self.admin_url}/readyz").status_code == 200:
                return time.monotonic() - self._started
            time.sleep(0.02)
        raise RuntimeError(f"{self.admin_url}/readyz did not become ready")

    def cpu_seconds(self) -> float:
        """The processor time that the process has used, in seconds."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def resident_mib(self) -> float:
        """The resident set, in MiB."""
        return float(self._process.memory_info().rss) / 2**20

    def take_log(self) -> list[bytes]:
        """Return the lines of the log and empty it: a minute of load writes several hundred megabytes."""
        lines = self._log.read_bytes().splitlines()
        os.truncate(self._log, 0)
        return lines


@contextmanager
def service(
    module: str,
    folder: Path,
    env: Mapping[str, str] = MappingProxyType({}),
    *,
    core: int | None = None,
    python: Path = SHIPPED,
) -> Iterator[Service]:
    """Run `module` until the block ends, pinned to `core`; when the block begins, it is listening.

    Raises:
        RuntimeError: when the process ends or stays silent instead; with the end of its log.
    """
    log = folder / f"{module}-{time.monotonic_ns()}.log"
    with log.open("ab") as output:
        process = psutil.Popen(
            [python, "-m", module],
            cwd=folder,
            env={**_ENVIRONMENT, **env},
            stderr=output,
            stdout=subprocess.DEVNULL,
            preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
        )
        try:
            yield Service(process, log)
        finally:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
            try:
                process.wait(30)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def gateway(
    folder: Path,
    target: str,
    env: Mapping[str, str] = MappingProxyType({}),
    *,
    module: str = "gateway_svc",
    core: int | None = SERVER_CORE,
) -> Iterator[Service]:
    """Run a gateway of the user service at `target`; when the block begins, it is ready."""
    with service(module, folder, {"USER_SERVICE_TARGET": target, **env}, core=core) as serving:
        serving.until_ready()
        yield serving


@contextmanager
def platform(folder: Path, *, bcrypt_cost: int) -> Iterator[tuple[Service, Service]]:
    """Run a user service in which CREDENTIALS are registered, and a gateway, both on all cores."""
    env = {"BCRYPT_COST": str(bcrypt_cost), "DATA_DIR": tempfile.mkdtemp(dir=folder)}
    with service("user_svc", folder, env) as users:
        users.until_ready()
        with gateway(folder, users.target, core=None) as serving:
            httpx.post(f"{serving.url}/api/register", json=CREDENTIALS, timeout=10).raise_for_status()
            yield users, serving


def free_port() -> int:
    """Return a port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for databases and logs that goes when the measurement ends."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield Path(folder)
