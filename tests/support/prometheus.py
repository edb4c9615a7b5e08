"""What Prometheus says, and a private one that scrapes a test's processes."""

import json
import math
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import yaml

from monitoring.rules.alert import PREFIX
from tests.support.etcd import free_port
from tests.support.wait import wait_until

Series = dict[str, Any]
"""`metric`, the labels, and `values`, pairs of a Unix time and a value."""

Alert = tuple[str, str]
"""Name, without the prefix that all of ours have, and severity."""

Get = Callable[[str, Mapping[str, str]], str]
"""Asks for a path with these parameters and returns the answer's body."""


class Api:
    """What a Prometheus answers, by whatever way it is reached."""

    def __init__(self, get: Get) -> None:
        self._get = get

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Return the result of `expr` now: `metric`, the labels, and `value`, a Unix time and a value."""
        result: list[dict[str, Any]] = self._ask("query", query=expr)["result"]
        return result

    def history(self, expr: str, start: float, end: float, step: float = 1.0) -> list[Series]:
        """Return the series of `expr` from `start` to `end` (Unix times) that have a number at least once."""
        result = self._ask("query_range", query=expr, start=f"{start}", end=f"{end}", step=f"{step}")["result"]
        return [series for series in result if any(not math.isnan(float(value)) for _, value in series["values"])]

    @property
    def raised(self) -> set[Alert]:
        """The alerts that are pending or firing."""
        return {alert_of(alert["labels"]) for alert in self._ask("alerts")["alerts"]}

    @property
    def targets(self) -> list[dict[str, Any]]:
        """What is scraped: `labels`, `health` (up, down or unknown) and `lastError` among others."""
        targets: list[dict[str, Any]] = self._ask("targets", state="active")["activeTargets"]
        return targets

    def _ask(self, path: str, **parameters: str) -> dict[str, Any]:
        answer = json.loads(self._get(f"api/v1/{path}", parameters))
        assert answer["status"] == "success", answer
        data: dict[str, Any] = answer["data"]
        return data


def alert_of(labels: Mapping[str, str]) -> Alert:
    """Return which alert a series of ALERTS, or an alert itself, is."""
    return labels["alertname"].removeprefix(PREFIX), labels["severity"]


def binary() -> str | None:
    """The path of prometheus, or None when there is none."""
    return shutil.which("prometheus")


def promtool_or_skip() -> str:
    """Return the path of promtool; where there is none, the test is skipped."""
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("promtool is not on the PATH; on Debian and Ubuntu: apt install prometheus")
    return path


class Prometheus(Api):
    """One Prometheus on 127.0.0.1 with a data folder of its own; use it as a context manager."""

    def __init__(self, config: dict[str, Any], folder: Path) -> None:
        """Prepare to run with `config`, which is what a prometheus.yml holds."""
        super().__init__(self._text)
        self._folder = folder
        self._config = folder / "prometheus.yaml"
        self._config.write_text(yaml.safe_dump(config), encoding="utf-8")
        self._log = folder / "prometheus.log"
        port = free_port()
        self._address = f"127.0.0.1:{port}"
        self._client = httpx.Client(base_url=f"http://{self._address}", timeout=30, trust_env=False)
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        path = binary()
        assert path is not None, "prometheus is not installed"
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(
                [
                    path,
                    f"--config.file={self._config}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address={self._address}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._is_ready, 20, what="Prometheus to be ready")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        if self._child is not None:
            self._child.terminate()
            self._child.wait(30)

    def _text(self, path: str, parameters: Mapping[str, str]) -> str:
        return self._client.get(path, params=dict(parameters)).text

    def _is_ready(self) -> bool:
        assert self._child is not None
        assert self._child.poll() is None, self._log.read_text(encoding="utf-8")
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False
