"""The Dockerfiles build on one base, by its digest, and the page has how to renew it."""

import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILES = ("Dockerfile.user", "Dockerfile.gateway")
NEW = f"sha256:{'0123456789abcdef' * 4}"


def _bases(folder: Path) -> set[str]:
    found = [re.findall(r"^ARG BASE=(.+)$", (folder / name).read_text(), re.MULTILINE) for name in DOCKERFILES]
    assert [len(each) for each in found] == [1, 1]
    return {base for each in found for base in each}


def test_both_images_build_on_one_digest() -> None:
    (base,) = _bases(ROOT)
    assert re.fullmatch(r"docker\.io/library/python:3\.\d+-slim@sha256:[0-9a-f]{64}", base)
    for name in DOCKERFILES:
        text = (ROOT / name).read_text()
        stages = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
        named = re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE)
        assert set(stages) - set(named) == {"$BASE"}
        assert f'image.base.name="{base.partition("@")[0]}"' in text


def test_page_s_lines_renew_the_digest(tmp_path: Path) -> None:
    for name in DOCKERFILES:
        shutil.copy(ROOT / name, tmp_path)
    before = _bases(tmp_path).pop()
    page = (ROOT / "docs" / "images.md").read_text()
    (block,) = re.findall(r"```sh\n(digest=.*?)```", page, re.DOTALL)
    asks, replaces, _ = block.strip().splitlines()
    assert before.partition("@")[0] in asks
    subprocess.run(["bash", "-ec", f"digest={NEW}\n{replaces}"], cwd=tmp_path, timeout=10, check=True)
    assert _bases(tmp_path) == {f"{before.partition('@')[0]}@{NEW}"}
