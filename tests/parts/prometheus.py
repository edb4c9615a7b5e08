"""A private Prometheus that scrapes a test's processes."""

import math
import shutil
import subprocess
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from tests.parts.etcd import free_port
from tests.parts.wait import wait_until

Series = dict[str, Any]
"""`metric`, the labels, and `values`, pairs of a Unix time and a value."""


def binary() -> str | None:
    """The path of prometheus, or None when there is none."""
    return shutil.which("prometheus")


class Prometheus:
    """One Prometheus on 127.0.0.1 with a data folder of its own; use it as a context manager."""

    def __init__(self, config: dict[str, Any], folder: Path) -> None:
        """Prepare to run with `config`, which is what a prometheus.yml holds."""
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

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Return the result of `expr` now: `metric`, the labels, and `value`, a Unix time and a value."""
        result: list[dict[str, Any]] = self._get("query", query=expr)["result"]
        return result

    def history(self, expr: str, start: float, end: float, step: float = 1.0) -> list[Series]:
        """Return the series of `expr` from `start` to `end` (Unix times) that have a number at least once."""
        result = self._get("query_range", query=expr, start=start, end=end, step=step)["result"]
        return [series for series in result if any(not math.isnan(float(value)) for _, value in series["values"])]

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that are pending or firing: `labels` and `state`."""
        alerts: list[dict[str, Any]] = self._get("alerts")["alerts"]
        return alerts

    def _get(self, path: str, **parameters: str | float) -> dict[str, Any]:
        answer = self._client.get(f"/api/v1/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data

    def _is_ready(self) -> bool:
        assert self._child is not None
        assert self._child.poll() is None, self._log.read_text(encoding="utf-8")
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False
