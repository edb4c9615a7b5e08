"""A real headless Chromium, driven over the DevTools protocol's pipe (two file descriptors, no port)."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.wait import wait_until

BINARY = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-pipe",
]

# Chromium reads from 3 and writes to 4, where the originals may lie the other way round.
_WIRE = """
import fcntl, os, sys
read, write = (fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3])
os.dup2(read, 3)
os.dup2(write, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Chromium:
    """One page in a browser of its own, and what the page asked for and complained about.

    Nothing but 127.0.0.1 can be reached from it.
    """

    def __init__(self) -> None:
        assert BINARY, "no Chromium is installed"
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._answers: dict[int, dict[str, Any]] = {}
        self._session = ""
        self._sent = 0
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._for_browser, self._write = os.pipe()
        self._read, self._from_browser = os.pipe()
        ends = self._for_browser, self._from_browser
        self._process = subprocess.Popen(
            [sys.executable, "-c", _WIRE, *map(str, ends), BINARY, *_FLAGS, f"--user-data-dir={self._profile.name}"],
            pass_fds=ends,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in ends:
            os.close(end)
        self._reader = threading.Thread(target=self._receive, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Network", "Log", "Runtime", "Page"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._write)
        self._reader.join(5)
        os.close(self._read)
        self._profile.cleanup()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command of the protocol and return its result."""
        self._sent += 1
        number = self._sent
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        wait_until(lambda: number in self._answers, 20, what=f"{method} to be answered")
        answer = self._answers.pop(number)
        assert "error" not in answer, answer["error"]
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def screenshot(self, path: Path) -> None:
        """Write a picture of the page, for a person to look at."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def evaluate(self, script: str) -> Any:
        """Return the value of a JavaScript expression in the page, of a promise what it is resolved to."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        return answer["result"].get("value")

    def wait_for(self, script: str, timeout: float = 20.0) -> Any:
        """Wait until a JavaScript expression is true, and return its value."""
        return wait_until(lambda: self.evaluate(script), timeout, what=script)

    def _receive(self) -> None:
        with contextlib.suppress(OSError):
            buffered = b""
            while chunk := os.read(self._read, 65536):
                *messages, buffered = (buffered + chunk).split(b"\0")
                for message in messages:
                    self._take(json.loads(message))

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._answers[message["id"]] = message
            return
        params = message.get("params", {})
        match message["method"]:
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Log.entryAdded":
                self.complaints.append(params["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.complaints.append(json.dumps(params["args"]))
