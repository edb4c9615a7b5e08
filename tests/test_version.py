"""The version is in one file, and `make version` brings it everywhere it is stated."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
VERSION = (REPOSITORY / "VERSION").read_text().strip()
LOCKS = ("requirements/*.txt", "*/go.mod", "*/go.sum", "*/package-lock.json")
"""Where the versions are other projects'."""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What is committed or about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (REPOSITORY / name).is_file() and not any(Path(name).match(lock) for lock in LOCKS):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / name, tmp_path / name)
    return tmp_path


def make_version(folder: Path, version: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", "version", f"V={version}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes().decode(errors="replace") for path in files}


def test_everything_states_the_one_version(copy: Path) -> None:
    before = contents(copy)
    assert make_version(copy, VERSION).returncode == 0
    after = contents(copy)
    assert sorted(name for name, text in after.items() if text != before[name]) == []


def test_new_version_leaves_no_stray(copy: Path) -> None:
    assert make_version(copy, "417.0.3-rc.1").returncode == 0
    old = re.compile(rf"(?<![\w.]){re.escape(VERSION)}(?![\w.])")
    assert [name for name, text in contents(copy).items() if old.search(text)] == []


@pytest.mark.parametrize("version", ["", "2", "v2.0.0", "0.2; true"])
def test_what_is_no_version_is_refused(copy: Path, version: str) -> None:
    before = contents(copy)
    run = make_version(copy, f"'{version}'" if version else "")
    assert run.returncode != 0
    assert "error: name the new version, as in `make version V=X.Y.Z`" in run.stderr
    assert contents(copy) == before
