"""`make run` as a developer sees it: in a terminal, with Ctrl-C."""

import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psutil
import pytest

from tests.support.etcd import free_port
from tests.support.process import ROOT
from tests.support.wait import wait_until

BUILT = ["RUN=", f"RUN_PY={sys.executable}"]
"""Spares a test the installation: what runs the test has it all."""

TAKE_THE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Makes the terminal the one whose Ctrl-C reaches the command that follows."""

STOPPED = {0, 130, -signal.SIGINT}
"""How make ends after Ctrl-C: as its recipe did, or, as shells show it, by the signal that it got as well."""


class Terminal:
    """A terminal in which make runs, its children in whatever sessions they like."""

    def __init__(self, tree: Path, *words: str, env: dict[str, str] | None = None) -> None:
        self._screen, theirs = pty.openpty()
        keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.make = subprocess.Popen(
            [sys.executable, "-c", TAKE_THE_TERMINAL, "make", "--no-print-directory", "run", *words],
            cwd=tree,
            env={**keep, **(env or {})},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._read: list[bytes] = []
        self._reader = threading.Thread(target=self._watch, daemon=True)
        self._reader.start()
        self.family: set[psutil.Process] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is not None:
            error.add_note(self.text)
        for process in self.know_family():
            if process.is_running():
                process.kill()
        self.make.kill()
        self.make.wait()
        os.close(self._screen)

    @property
    def text(self) -> str:
        """What stands on the screen, colours taken off."""
        return re.sub(r"\x1b\[[0-9;]*m", "", b"".join(self._read).decode()).replace("\r\n", "\n")

    def wait_for(self, text: str, timeout: float = 30.0) -> str:
        """Wait for a line that begins with `text`."""

        def there() -> bool:
            assert self.make.poll() is None, self.text
            return f"\n{text}" in self.text

        wait_until(there, timeout, what=text)
        self.know_family()
        return self.text

    def know_family(self) -> set[psutil.Process]:
        """Remember every process that descends from make: later, orphans could not be told by their parents."""
        if self.make.poll() is None:
            self.family |= set(psutil.Process(self.make.pid).children(recursive=True))
        return self.family

    def press_ctrl_c(self) -> None:
        os.write(self._screen, b"\x03")

    def wait(self, timeout: float = 30.0) -> int:
        """Wait for the end of make and of all that it started, and return its exit code."""
        code = self.make.wait(timeout)
        _, alive = psutil.wait_procs(self.family, timeout=5)
        assert not alive, "orphans"
        self._reader.join(5)
        return code

    def _watch(self) -> None:
        while True:
            try:
                data = os.read(self._screen, 4096)
            except OSError:  # EIO: the terminal is closed
                return
            self._read.append(data)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what `make run` needs, without anyone's .env, data or virtual environments."""
    left_out = shutil.ignore_patterns(".*", "__pycache__", "charts")
    return Path(shutil.copytree(ROOT, tmp_path / "tree", ignore=left_out))


@pytest.fixture
def ports() -> dict[str, str]:
    """Free ports, as they are set; the user services and the admin ports take several in a row."""
    while True:
        first = free_port()
        try:
            for port in range(first, first + 16):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        names = {"GATEWAY_PORT": 0, "ETCD_PORT": 1, "USER_PORT": 2, "ADMIN_PORT": 6}
        return {name: str(first + offset) for name, offset in names.items()}


@pytest.fixture
def gateway(ports: dict[str, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{ports['GATEWAY_PORT']}", trust_env=False, timeout=15) as client:
        yield client


def test_run_try_the_lines_and_stop(tree: Path, ports: dict[str, str]) -> None:
    tokens = []
    for code in [200, 409]:  # the users are kept over a restart
        with Terminal(tree, "USERS=2", *BUILT, env={**ports, "BCRYPT_COST": "10"}) as terminal:
            screen = terminal.wait_for("Ctrl-C stops everything.")
            register, login, profile = [line.strip() for line in screen.splitlines() if line.startswith("  curl ")]
            assert shell(register)["code"] == code
            answer = shell(login)
            assert (answer["code"], answer["user_id"]) == (200, 1)
            tokens.append(answer["token"])
            # the key is kept over a restart, too, and with it a client's session
            for token in tokens:
                assert shell(profile.replace("<the token>", token))["data"] == {"user_id": 1, "username": "testuser123"}
            assert [user["username"] for user in users(tree, "list --json")] == ["testuser123"]
            terminal.press_ctrl_c()
            assert terminal.wait() in STOPPED
            assert "Traceback" not in terminal.text
            # among others that a lease could not be revoked, since etcd had gone first
            assert not re.search(r"^error|WARNING|ERROR", terminal.text, re.MULTILINE)
            for stopped in ["user.1", "user.2", "gateway.1"]:
                assert f"{stopped} stopped (rc=0)" in re.sub(" +", " ", terminal.text)
    assert (tree / ".data").stat().st_mode & 0o777 == 0o700
    assert {path.name for path in (tree / ".data").iterdir()} >= {"jwt_secret", "users.db", "etcd.log"}
    assert {path.stat().st_mode & 0o777 for path in (tree / ".data").iterdir()} == {0o600}


def users(tree: Path, arguments: str) -> Any:
    """Do something about the users beside `make run`, and read the JSON that it prints."""
    command = ["make", "--no-print-directory", "users", f"ARGS={arguments}", *BUILT]
    env = {"PATH": os.environ["PATH"]}
    return json.loads(subprocess.run(command, cwd=tree, env=env, capture_output=True, check=True, timeout=60).stdout)


def shell(line: str) -> dict[str, Any]:
    """Type a line into a shell and read the JSON that it prints."""
    typed = subprocess.run(line, shell=True, capture_output=True, text=True, check=True, timeout=30)
    answer = json.loads(typed.stdout)
    assert isinstance(answer, dict)
    return answer


@pytest.mark.parametrize("after", [0.3, 0.8])
def test_ctrl_c_at_any_moment_of_the_start(tree: Path, ports: dict[str, str], after: float) -> None:
    with Terminal(tree, *BUILT, env=ports) as terminal:
        # make is done with reading its file; interrupted there, it ends with words and a code of its own
        wait_until(lambda: any(words(process)[-2:] == ["-m", "run"] for process in terminal.know_family()), 20)
        deadline = time.monotonic() + after
        while time.monotonic() < deadline:
            terminal.know_family()
        terminal.press_ctrl_c()
        # make says so, and ends with 2, when it learns that the signal ended the recipe before it looks at its own
        assert terminal.wait() in STOPPED or terminal.text.rstrip().endswith("run] Interrupt")
        assert "Traceback" not in terminal.text


def words(process: psutil.Process) -> list[str]:
    """Return the command line of a process, nothing of one that has ended."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def test_a_taken_port_is_one_sentence(tree: Path, ports: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", int(ports["USER_PORT"]))), Terminal(tree, *BUILT, env=ports) as terminal:
        assert terminal.wait() == 2
        assert terminal.text.splitlines()[0] == (
            f"error: USER_PORT: cannot listen on 127.0.0.1:{ports['USER_PORT']}: Address already in use"
        )


@pytest.mark.parametrize("victim", ["gateway_svc", "etcd"])
def test_a_dead_child_stops_the_run(tree: Path, ports: dict[str, str], victim: str) -> None:
    with Terminal(tree, *BUILT, env=ports) as terminal:
        terminal.wait_for("Ready.")
        (process,) = [p for p in terminal.family if any(victim in word for word in p.cmdline()[:3])]
        process.kill()
        assert terminal.wait() == 2
        names = {"gateway_svc": "gateway.1", "etcd": "etcd"}
        (sentence,) = [line for line in terminal.text.splitlines() if line.startswith("error: ")]
        assert re.fullmatch(rf"error: {names[victim]} ended with code -9, so everything was stopped.*", sentence)
        assert "Traceback" not in terminal.text


def test_a_wrong_setting_is_one_sentence(tree: Path, ports: dict[str, str]) -> None:
    (tree / ".env").write_text("JWT_SECRET=short\nSERVER_MODE=release\n", encoding="utf-8")
    with Terminal(tree, *BUILT, env=ports) as terminal:
        assert terminal.wait() == 2
        lines = terminal.text.splitlines()
        assert any(line.endswith("error: JWT_SECRET must be at least 32 bytes long") for line in lines)
        assert "error: gateway.1 ended with code 2, so everything was stopped; its own lines above say why" in lines


def test_an_etcd_that_is_named_is_used(
    tree: Path, ports: dict[str, str], gateway: httpx.Client, request: pytest.FixtureRequest
) -> None:
    etcd = request.getfixturevalue("etcd")
    env = {**ports, "ETCD_ADDRESS": etcd.endpoint, "REGISTRY_PREFIX": f"test/run-{ports['USER_PORT']}"}
    with Terminal(tree, *BUILT, env=env) as terminal:
        terminal.wait_for("Ready.")
        assert gateway.get("/ping").json() == {"message": "pong"}
        (key,) = etcd.keys(env["REGISTRY_PREFIX"])
        assert key.endswith(f"/user/127.0.0.1:{ports['USER_PORT']}")
        assert not [process for process in terminal.family if "etcd" in process.name()]
        terminal.press_ctrl_c()
        terminal.wait()
        assert not etcd.keys(env["REGISTRY_PREFIX"])


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("exit 127", "error: {python} is not there; install Python 3.11 or later, or name one: {hint}"),
        (
            "[ $1 = -V ] && echo Python 3.9.2",
            "error: Python 3.9.2 is too old; install Python 3.11 or later, or name one: {hint}",
        ),
        (
            'case "$*" in *ensurepip*) exit 1;; -V) echo Python 3.11.2;; esac',
            "error: {python} comes without its venv module; on Debian and Ubuntu: apt install python3-venv",
        ),
    ],
)
def test_unusable_python_is_one_error_message(tree: Path, script: str, sentence: str) -> None:
    python = tree / "python"
    if "127" not in script:
        python.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        python.chmod(0o755)
    with Terminal(tree, f"PYTHON={python}") as terminal:
        assert terminal.wait() == 2
        hint = "make PYTHON=/path/to/python3"
        assert terminal.text.splitlines()[0] == sentence.format(python=python, hint=hint)
    assert not (tree / ".venv-run").exists()


@pytest.mark.faults
@pytest.mark.exclusive
@pytest.mark.timeout(600)
def test_from_nothing(tree: Path, ports: dict[str, str], gateway: httpx.Client) -> None:
    """The installation, too, from the package index."""
    with Terminal(tree, env=ports) as terminal:
        terminal.wait_for("Ready.", 500)
        assert gateway.get("/ping").json() == {"message": "pong"}
        terminal.press_ctrl_c()
        assert terminal.wait() in STOPPED
