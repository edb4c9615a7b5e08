"""A service of this project as a child process: its environment, its ports, its log lines, its end."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support import suspension

ROOT = Path(__file__).resolve().parents[2]

_MEASURED = "COVERAGE_PROCESS_CONFIG"
"""Set by `make coverage`."""
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", _MEASURED)


class Process:
    """`python -m <module>` with nothing of the caller's environment but `env`, in a folder of its own.

    The services listen on free ports of 127.0.0.1 and hash at cost 10 unless `env` says otherwise.
    """

    def __init__(self, module: str, *args: str, env: Mapping[str, str] | None = None, cwd: Path) -> None:
        self.module = module
        self.cwd = cwd
        self._lines: list[str] = []
        self._arrival = threading.Condition()
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        defaults = {
            "LISTEN_HOST": "127.0.0.1",
            "LISTEN_PORT": "0",
            "ADMIN_HOST": "127.0.0.1",
            "ADMIN_PORT": "0",
            "BCRYPT_COST": "10",
            "DRAIN_DELAY": "0",
        }
        command: Sequence[str] = [sys.executable, "-m", module, *args]
        self._child = subprocess.Popen(
            command,
            cwd=cwd,
            env={**inherited, "PYTHONPATH": str(ROOT), **defaults, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, name=f"output of {module}", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def output(self) -> str:
        """Everything that was written so far, to standard output and to standard error."""
        with self._arrival:
            return "".join(self._lines)

    @property
    def records(self) -> list[dict[str, Any]]:
        """The JSON log lines so far."""
        with self._arrival:
            lines = list(self._lines)
        return [record for line in lines if (record := _record(line)) is not None]

    @property
    def port(self) -> int:
        """The port of the service, once it listens."""
        return int(self.wait_for("listening")["port"])

    @property
    def admin_port(self) -> int:
        """The port of /livez, /readyz and /metrics, once it listens."""
        return int(self.wait_for("listening")["admin_port"])

    @property
    def target(self) -> str:
        """`127.0.0.1:port`, once it listens."""
        return f"127.0.0.1:{self.port}"

    def wait_for(self, message: str, timeout: float = 20.0) -> dict[str, Any]:
        """Wait for a log line whose message contains `message`, and return the first one.

        Raises:
            AssertionError: with the output, when the process ends or `timeout` seconds pass before.
        """
        deadline = time.monotonic() + timeout
        seen = 0
        with self._arrival:
            while True:
                for line in self._lines[seen:]:
                    record = _record(line)
                    if record is not None and message in str(record.get("message", "")):
                        return record
                seen = len(self._lines)
                left = deadline - time.monotonic()
                over = not self._reader.is_alive()
                if over or left <= 0:
                    why = f"ended with {self._child.poll()}" if over else f"said nothing like it in {timeout} s"
                    raise AssertionError(f"{self.module}: no line {message!r}: it {why}\n{''.join(self._lines)}")
                self._arrival.wait(min(left, 0.5))

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._child.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._child.kill()

    def suspend(self) -> None:
        """Send SIGSTOP: the process keeps its sockets and answers nothing."""
        suspension.suspend(self._child)

    def resume(self) -> None:
        """Send SIGCONT."""
        suspension.resume(self._child)

    @property
    def running(self) -> bool:
        return self._child.poll() is None

    def wait(self, timeout: float = 20.0) -> int:
        """Wait for the end and return the exit code; -N when signal N ended it.

        Raises:
            AssertionError: with the output, when it still runs after `timeout` seconds.
        """
        try:
            code = self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.module} still runs after {timeout} s\n{self.output}") from None
        self._reader.join(5)
        return code

    def close(self) -> None:
        """End the process, whatever its state."""
        if self.running and _MEASURED in os.environ:
            self._stop()
        if self.running:
            self._child.kill()
        self._child.wait()
        self._reader.join(5)
        if self._child.stdout:
            self._child.stdout.close()

    def _stop(self) -> None:
        """Let the process end by itself: what is killed writes no coverage."""
        self.resume()
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(20)

    def _read(self) -> None:
        stream = self._child.stdout
        if stream is None:
            return
        for line in stream:
            with self._arrival:
                self._lines.append(line)
                self._arrival.notify_all()
        with self._arrival:
            self._arrival.notify_all()


def _record(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
