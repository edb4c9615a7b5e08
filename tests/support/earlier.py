"""An earlier version of the services, to run beside this one."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.support.process import ROOT

COMMIT = "03e54014f0ac2684b4b204871e06edf917beee02"
"""The last version without sessions."""


def is_known() -> bool:
    """Whether this clone has the commit, which a shallow one lacks."""
    found = subprocess.run(["git", "-C", str(ROOT), "cat-file", "-e", COMMIT], capture_output=True, check=False)
    return found.returncode == 0


def install(folder: Path) -> dict[str, str]:
    """Unpack the version into `folder` and return the variables by which a Process runs it.

    It has the packages of this version, or with OWN_PACKAGES=1 those of its own lock, which are installed first.
    """
    archive = folder / "earlier.tar"
    subprocess.run(["git", "-C", str(ROOT), "archive", f"--output={archive}", COMMIT], check=True)
    source = folder / "earlier"
    with tarfile.open(archive) as tar:
        tar.extractall(source, filter="data")
    if os.environ.get("OWN_PACKAGES") != "1":
        return {"PYTHONPATH": str(source)}
    packages = folder / "packages"
    lock = source / "requirements" / "run.txt"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    subprocess.run([*pip, f"--target={packages}", "-r", str(lock)], check=True)
    return {"PYTHONPATH": f"{source}:{packages}"}
