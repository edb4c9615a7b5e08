"""How many cores the quotas of cgroups v1 and v2 leave."""

import os
from pathlib import Path

import pytest

from user_svc import cpu_quota


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 8), ("200000 100000", 2), ("250000 100000", 2), ("50000 100000", 1), ("9900000 100000", 8)],
)
def test_v2_in_a_container(tmp_path: Path, quota: str, expected: int) -> None:
    write(tmp_path / "own", "0::/\n")
    write(tmp_path / "fs/cpu.max", quota)
    assert cpu_quota.available(tmp_path / "fs", tmp_path / "own") == expected


def test_v2_takes_the_least_of_the_groups_above(tmp_path: Path) -> None:
    write(tmp_path / "own", "0::/pods/one/main\n")
    write(tmp_path / "fs/pods/cpu.max", "700000 100000")
    write(tmp_path / "fs/pods/one/cpu.max", "300000 100000")
    write(tmp_path / "fs/pods/one/main/cpu.max", "max 100000")
    assert cpu_quota.available(tmp_path / "fs", tmp_path / "own") == 3


@pytest.mark.parametrize("folder", ["cpu,cpuacct", "cpu"])
@pytest.mark.parametrize(("quota", "expected"), [("-1", 8), ("300000", 3)])
def test_v1(tmp_path: Path, folder: str, quota: str, expected: int) -> None:
    write(tmp_path / "own", "5:memory:/x\n2:cpu,cpuacct:/kubepods/pod1/main\n1:name=systemd:/x\n")
    write(tmp_path / f"fs/{folder}/kubepods/pod1/main/cpu.cfs_quota_us", quota)
    write(tmp_path / f"fs/{folder}/kubepods/pod1/main/cpu.cfs_period_us", "100000")
    assert cpu_quota.available(tmp_path / "fs", tmp_path / "own") == expected


def test_v1_in_a_container_sees_its_own_root(tmp_path: Path) -> None:
    write(tmp_path / "own", "2:cpu,cpuacct:/kubepods/pod1/main\n")
    write(tmp_path / "fs/cpu,cpuacct/cpu.cfs_quota_us", "300000")
    write(tmp_path / "fs/cpu,cpuacct/cpu.cfs_period_us", "100000")
    assert cpu_quota.available(tmp_path / "fs", tmp_path / "own") == 3


def test_without_cgroups_the_affinity_counts(tmp_path: Path) -> None:
    assert cpu_quota.available(tmp_path / "fs", tmp_path / "own") == 8
