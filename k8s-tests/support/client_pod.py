"""A pod of ours inside the cluster: a client of the services, with a program for each purpose."""

import json
import os
import threading
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from support.cluster import Execution, Manifest, wait_until
from support.namespace import CHARTS, Namespace
from support.release import VALUES

IN_POD = Path(__file__).parent / "in_pod"


def image(chart: str) -> str:
    """Return the image that a chart installs by default, or by the file of values for this cluster."""
    values = yaml.safe_load((CHARTS / chart / "values.yaml").read_text())["image"]
    version = yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text())["appVersion"]
    if os.environ.get(VALUES):
        values |= yaml.safe_load(Path(os.environ[VALUES]).read_text()).get(chart, {}).get("image", {})
    if values["digest"]:
        return f"{values['repository']}@{values['digest']}"
    return f"{values['repository']}:{values['tag'] or version}"


class ClientPod:
    """The pod. Its label lets it through the NetworkPolicies, as a gateway by default; no Service sends it anything."""

    def __init__(
        self, namespace: Namespace, name: str = "client-pod", label: str = "gateway-svc", chart: str = "gateway-svc"
    ) -> None:
        """Run the image of `chart`, under the `app.kubernetes.io/name` of `label`."""
        self.namespace = namespace
        self.name = name
        self._manifest = _manifest(name, image(chart), label)
        namespace.create(self._manifest)

    def wait(self) -> None:
        """Wait until it runs."""
        self.namespace.wait_for_pod(self.name, 60, what="our own pod")

    def run(self, program: str, *arguments: str, timeout: float = 60) -> str:
        """Run one of the programs of in_pod/ and return what it writes."""
        return self.namespace.execute(self.name, *_command(program, arguments), timeout=timeout)

    def start(self, program: str, *arguments: str) -> Execution:
        """Run one of the programs of in_pod/ beside the test."""
        return self.namespace.cluster.start(self.name, self.namespace.name, *_command(program, arguments))

    def ask(self, *requests: Manifest) -> list[Manifest]:
        """Send requests (method, url, body, headers) and return the answers (status, headers, body)."""
        return [json.loads(line) for line in self.run("requests.py", json.dumps(requests)).splitlines()]


def _command(program: str, arguments: tuple[str, ...]) -> list[str]:
    return ["python", "-c", (IN_POD / program).read_text(), *arguments]


def _manifest(name: str, image: str, label: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": label}},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "runAsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "client-pod",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python", "-c", "import signal; signal.pause()"],
                    "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }


class Traffic:
    """Steady traffic from inside the cluster for as long as the context lasts; see in_pod/traffic.py."""

    def __init__(self, client_pod: ClientPod, gateway: str, rates: dict[str, float]) -> None:
        marker = f"t{time.time_ns() // 10**6 % 36**6:07x}"
        self._running = client_pod.start("traffic.py", gateway, marker, json.dumps(rates))
        self._ended = False
        self._broken = ""
        self.results: list[dict[str, Any]] = []
        """What has been answered or has failed so far."""
        self._thread = threading.Thread(target=self._read, name="traffic", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.wait_for(3)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._running.running:
            self._running.tell("stop")
        self._thread.join(60)
        assert error is not None or (self._ended and not self._broken), f"the traffic broke off: {self._broken}"

    def _read(self) -> None:
        try:
            while self._running.running:
                self._take(self._running.lines(timeout=0.5))
            self._take(self._running.finish(1).splitlines())
        except Exception as error:  # noqa: BLE001  # it is told where the test waits
            self._broken = str(error) or repr(error)

    def _take(self, lines: Any) -> None:
        for line in lines:
            result = json.loads(line)
            if "end" in result:
                self._ended = True
            else:
                self.results.append(result)

    def wait_for(self, more: int, timeout: float = 60) -> None:
        """Wait until so many more requests have ended."""
        enough = len(self.results) + more
        wait_until(
            lambda: self._broken or len(self.results) >= enough, timeout, what=f"{more} more requests of the traffic"
        )
        assert not self._broken, self._broken

    def wait_seconds(self, seconds: float) -> None:
        """Let it go on for so long: the length of an outage, not a wait for something to happen."""
        self._thread.join(max(0.0, seconds))
        assert self._thread.is_alive(), f"the traffic broke off: {self._broken}"

    def of(self, *operations: str) -> list[dict[str, Any]]:
        """Return the results of these operations, of all if none is named."""
        return [result for result in self.results if not operations or result["operation"] in operations]

    def lost(self, *operations: str) -> list[dict[str, Any]]:
        """Return the requests of these operations that were not answered as they have to be."""
        return [result for result in self.of(*operations) if not result["ok"]]

    @property
    def summary(self) -> str:
        """How many requests of each operation ended how."""
        counts = Counter((r["operation"], str(r["status"] or r.get("error", ""))[:40]) for r in self.results)
        slowest = max((r["took"] for r in self.results), default=0.0)
        return ", ".join(f"{o} {s}: {n}" for (o, s), n in sorted(counts.items())) + f", slowest {slowest:.2f} s"
