"""The CronJobs that save and defragment etcd: how they render, and that what they run does it."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from manifests import Manifest, containers, of_kind, render, tool

from tests.support.etcd import Etcd

ON = {"snapshot": {"enabled": True}, "defragmentation": {"enabled": True}}
AUTH = {"registry": {"auth": {"enabled": True}}}
ROOT_PASSWORD = "a password of tests"


def _pod(manifests: list[Manifest], name: str) -> Manifest:
    pod: Manifest = of_kind(manifests, "CronJob", name)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return pod


def test_none_is_made_unless_asked_for() -> None:
    assert not {"CronJob", "PersistentVolumeClaim"} & {manifest["kind"] for manifest in render("video-platform")}


@pytest.mark.parametrize(
    ("chart", "values"), [("etcd", ON), ("video-platform", {"etcd": ON}), ("user-svc", {"etcd": ON})]
)
def test_whoever_installs_etcd_installs_its_jobs(chart: str, values: dict[str, Any]) -> None:
    manifests = render(chart, values)
    for job in ("vp-etcd-snapshot", "vp-etcd-defragmentation"):
        assert of_kind(manifests, "CronJob", job)["spec"]["concurrencyPolicy"] == "Forbid"
    claim = of_kind(manifests, "PersistentVolumeClaim", "vp-etcd-snapshot")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_every_member_is_defragmented_and_one_is_saved() -> None:
    manifests = render("etcd", {**ON, "replicaCount": 3, "global": {"tls": {"enabled": True}}})
    asked = {}
    for job in ("vp-etcd-snapshot", "vp-etcd-defragmentation"):
        for container in containers(_pod(manifests, job)):
            environment = {variable["name"]: variable.get("value") for variable in container["env"]}
            asked[container["name"]] = environment.get("ETCDCTL_ENDPOINTS")
    assert asked == {
        "save": "https://vp-etcd:2379",
        "check": None,
        "prune": None,
        "defragment": ",".join(f"https://vp-etcd-{number}.vp-etcd-peers:2379" for number in range(3)),
    }


def test_jobs_reach_etcd_and_serve_nothing() -> None:
    manifests = render("etcd", ON)
    labels = of_kind(manifests, "CronJob", "vp-etcd-snapshot")["spec"]["jobTemplate"]["spec"]["template"]["metadata"][
        "labels"
    ]
    for service in (m for m in manifests if m["kind"] == "Service"):
        assert not service["spec"]["selector"].items() <= labels.items()
    (clients, *_) = of_kind(manifests, "NetworkPolicy", "vp-etcd")["spec"]["ingress"]
    (peers,) = clients["from"]
    assert labels["app.kubernetes.io/name"] in peers["podSelector"]["matchExpressions"][0]["values"]
    assert of_kind(manifests, "NetworkPolicy", "vp-etcd-maintenance")["spec"]["podSelector"]["matchLabels"] == labels


@pytest.fixture
def etcd(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an etcd that wants root's password."""
    programs = {name: tool(name) for name in ("etcd", "etcdctl", "etcdutl")}
    if missing := [name for name, path in programs.items() if not path]:
        pytest.skip(f"{' and '.join(missing)}: neither on the PATH nor in the cache of `make cluster`")
    monkeypatch.setattr("tests.support.etcd.PROGRAMS", Path(str(programs["etcd"])).parent)  # the version of the jobs
    with Etcd() as running:
        running.enable_auth(ROOT_PASSWORD)
        yield running.address


def _run(container: Manifest, etcd: str, folder: Path, pod: str) -> str:
    """Run what a container runs, against this etcd and with a folder for its volume."""
    environment = {
        variable["name"]: ROOT_PASSWORD
        if "secretKeyRef" in variable.get("valueFrom", {})
        else variable.get("value", pod)
        for variable in container["env"]
    }
    if "ETCDCTL_ENDPOINTS" in environment:
        environment["ETCDCTL_ENDPOINTS"] = etcd
    command = [
        part.replace("$(POD_NAME)", pod).replace("/snapshots", str(folder))
        if not part.startswith("/usr")
        else str(tool(part.rpartition("/")[2]))
        for part in container["command"]
    ]
    run = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_jobs_do_what_they_are_for(etcd: str, tmp_path: Path) -> None:
    manifests = render("etcd", {**ON, "global": AUTH})
    folder = tmp_path / "snapshots"
    folder.mkdir()
    old, unfinished = folder / "old.db", folder / "unfinished.db.part"
    for path in (old, unfinished):
        path.write_text("of another week")
        os.utime(path, (0, time.time() - 8 * 86400))
    recent = folder / "recent.db"
    recent.write_text("of yesterday")
    pod = _pod(manifests, "vp-etcd-snapshot")
    said = [_run(container, etcd, folder, "job-1") for container in [*pod["initContainers"], *pod["containers"]]]
    assert sorted(path.name for path in folder.iterdir()) == ["job-1.db", "recent.db"]
    assert "TOTAL KEY" in said[1].upper()
    assert "job-1.db" in said[2]
    (container,) = _pod(manifests, "vp-etcd-defragmentation")["containers"]
    assert "Finished defragmenting" in _run(container, etcd, folder, "job-2")
