"""The Dockerfiles build on one base, by its digest, which can be renewed; each image gets an SBOM."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

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


BUILDER = """#!/usr/bin/env python3
# `build` notes what it is told, `save` writes an image with one Python package.
import hashlib, io, json, os, sys, tarfile

def tar(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()

verb, *arguments = sys.argv[1:]
if verb == "build":
    with open(os.environ["BUILDS"], "a") as log:
        print(*arguments, file=log)
else:
    _, path, image = arguments
    folder = "opt/venv/lib/python3.13/site-packages/demo-1.2.3.dist-info/"
    metadata = b"Metadata-Version: 2.1\\nName: demo\\nVersion: 1.2.3\\n"
    layer = tar({folder + "METADATA": metadata, folder + "RECORD": b""})
    diff = "sha256:" + hashlib.sha256(layer).hexdigest()
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff]}}
    manifest = [{"Config": "config.json", "RepoTags": [image], "Layers": ["layer.tar"]}]
    parts = {name: json.dumps(part).encode() for name, part in (("manifest.json", manifest), ("config.json", config))}
    with open(path, "wb") as file:
        file.write(tar({**parts, "layer.tar": layer}))
"""


def _syft() -> str:
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "video-platform-cluster" / "bin"
    found = shutil.which("syft") or next(map(str, cache.glob("syft-*/syft")), None)
    if not found:
        pytest.skip("syft is neither on the PATH nor in the cache of `make images`")
    return found


def test_make_images_writes_an_sbom_of_each(tmp_path: Path) -> None:
    builder = tmp_path / "builder"
    builder.write_text(BUILDER)
    builder.chmod(0o755)
    builds = tmp_path / "builds"
    environment = {**os.environ, "BUILDS": str(builds), "PATH": f"{Path(_syft()).parent}:{os.environ['PATH']}"}
    command = ["make", "images", f"BUILDER={builder}", f"DIST={tmp_path}", "REPOSITORY=registry.example.com/team"]
    subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=100, check=True)
    version = (ROOT / "VERSION").read_text().strip()
    for line, name in zip(builds.read_text().splitlines(), ("user", "gateway"), strict=True):
        assert f"--file Dockerfile.{name} " in line
        assert f"--tag registry.example.com/team/{name}-svc:{version} " in line
        bill = json.loads((tmp_path / "images" / f"{name}-svc.spdx.json").read_text())
        assert bill["spdxVersion"].startswith("SPDX-2")
        assert ("demo", "1.2.3") in {(package["name"], package.get("versionInfo")) for package in bill["packages"]}
    assert not list((tmp_path / "images").glob("*.tar"))
