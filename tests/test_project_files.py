"""The files of the project itself name parts, targets and paths that exist."""

import re

import yaml

from tests.support.process import ROOT


def test_workflow_runs_every_part_of_ci() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    parts = re.search(r"\|\| set -- (.+)", script)
    assert parts
    assert workflow["jobs"]["run"]["strategy"]["matrix"]["part"] == parts[1].split()
    assert re.findall(r"^    ([a-z0-9]+)\)", script, re.MULTILINE) == parts[1].split()
