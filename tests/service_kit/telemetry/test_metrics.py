"""The conventions that both services' metrics keep."""

import tomllib
from pathlib import Path

from service_kit.telemetry import metrics


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == metrics.VERSION


def test_histograms_have_at_most_ten_buckets() -> None:
    assert len(metrics.LATENCY_BUCKETS) + 1 <= 10
