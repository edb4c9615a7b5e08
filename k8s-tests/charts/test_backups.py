"""The CronJob that dumps MySQL, and its claim."""

import subprocess
from pathlib import Path
from typing import Any

import yaml
from manifests import CHARTS, Manifest, of_kind, render, tool


def _backup(**values: Any) -> dict[str, Any]:
    return {"backup": {"enabled": True, **values}}


def _claims(manifests: list[Manifest]) -> list[str]:
    return [m["metadata"]["name"] for m in manifests if m["kind"] == "PersistentVolumeClaim"]


def test_none_is_made_unless_asked_for() -> None:
    manifests = render("video-platform")
    assert not {"CronJob", "PersistentVolumeClaim"} & {manifest["kind"] for manifest in manifests}
    assert "backup.sh" not in of_kind(manifests, "ConfigMap", "vp-mysql")["data"]


def test_claim_stays_when_the_release_goes() -> None:
    claim = of_kind(render("mysql", _backup()), "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_claim_that_exists_is_used() -> None:
    manifests = render("mysql", _backup(persistence={"existingClaim": "elsewhere"}))
    assert _claims(manifests) == []
    pod = of_kind(manifests, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (volume,) = (v for v in pod["volumes"] if "persistentVolumeClaim" in v)
    assert volume["persistentVolumeClaim"]["claimName"] == "elsewhere"


def test_backups_do_not_overlap_or_hang() -> None:
    spec = of_kind(render("mysql", _backup(deadlineSeconds=60)), "CronJob")["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] == 60


def test_no_service_sends_clients_to_a_backup() -> None:
    manifests = render("mysql", _backup())
    labels = of_kind(manifests, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
    for service in (m for m in manifests if m["kind"] == "Service"):
        assert not service["spec"]["selector"].items() <= labels.items()


def test_turning_backups_on_restarts_no_server() -> None:
    before, after = (of_kind(render("mysql", values), "StatefulSet") for values in ({}, _backup()))
    assert before == after


def test_alerts_of_the_page_are_valid(tmp_path: Path) -> None:
    page = (CHARTS.parent / "docs" / "backups.md").read_text()
    rules = tmp_path / "rules.yaml"
    rules.write_text(page.partition("```yaml\n")[2].partition("```")[0])
    assert yaml.safe_load(rules.read_text())["groups"]
    promtool = tool("promtool")
    assert promtool
    subprocess.run([promtool, "check", "rules", str(rules)], capture_output=True, timeout=30, check=True)
