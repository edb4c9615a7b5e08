"""The toolchains of other languages, and where what they fetch is kept."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.support.process import ROOT

HERE = Path(__file__).parent
CONTRACT = ROOT / "openapi" / "openapi.yaml"
VENV = ROOT / ".venv-clients" / "bin"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "video-platform-clients"
# A machine whose Go or Node.js is too old gets newer ones into that environment by `make clients-test`.
_PATH = os.pathsep.join([str(VENV), os.environ.get("PATH", os.defpath), "/usr/sbin"])


def tool(name: str, install: str) -> str:
    """Return the path of a program; where there is none, the test is skipped, with `install` as the advice."""
    path = shutil.which(name, path=_PATH)
    if path is None:
        pytest.skip(f"{name} is not on the PATH; {install}")
    return path


def debian(name: str, package: str) -> str:
    """Return the path of a program that a Debian package brings, or skip the test."""
    return tool(name, f"on Debian and Ubuntu: apt install {package}")


def run(*command: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a command to its end and return its standard output.

    Raises:
        AssertionError: with its whole output, when it fails.
    """
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, "PATH": _PATH, **(env or {})}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


def cached(name: str, locks: list[Path], fill: Callable[[Path], None]) -> Path:
    """Return a folder that `fill` filled, now or when it last ran for the same content of `locks`."""
    digest = hashlib.sha256(b"\0".join(lock.read_bytes() for lock in locks)).hexdigest()[:16]
    folder = _CACHE / f"{name}-{digest}"
    if not folder.exists():
        _CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_CACHE) as parent:
            new = Path(parent) / name
            new.mkdir()
            for lock in locks:
                shutil.copy(lock, new)
            fill(new)
            new.rename(folder)
    return folder
