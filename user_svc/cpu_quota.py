"""How many cores this process may use: the cgroup's, not the machine's."""

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def available(cgroups: Path = CGROUPS, own: Path = OWN_CGROUP) -> int:
    """Return the cores that the CPU affinity and the quotas of the cgroups leave, at least 1, fractions cut off.

    Reads cpu.max of cgroup v2 and cpu.cfs_quota_us of v1, of the process's group and of those above it
    (https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files).
    """
    quotas = [quota for folder in _folders(cgroups, own) if (quota := _quota(folder)) is not None]
    return max(1, int(min([len(os.sched_getaffinity(0)), *quotas])))


def _folders(cgroups: Path, own: Path) -> list[Path]:
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    folders: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root = cgroups
        elif "cpu" in controllers.split(","):
            root = next((found for name in (controllers, "cpu") if (found := cgroups / name).is_dir()), cgroups)
        else:
            continue
        group = Path(path.lstrip("/"))
        # Inside a container the path may be the host's, which is not mounted: the root is then the container's own.
        folders += [root / group, *(root / parent for parent in group.parents)]
    return folders


def _quota(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    return int(quota) / int(period) if quota.isdigit() else None
