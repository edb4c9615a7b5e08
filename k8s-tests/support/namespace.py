"""A namespace that enforces the restricted Pod Security Standard, and what tests ask of it."""

import json
import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from kubernetes.client.exceptions import ApiException

from support.cluster import Cluster, Manifest, condition, wait_until

CHARTS = Path(__file__).resolve().parents[2] / "charts"
KEEP = "K8S_TEST_KEEP"
"""Set to anything, it leaves the namespaces in place for a look at them."""


class Namespace:
    """One of our own: its name is new, and it is deleted with all that is in it when the context ends."""

    def __init__(self, cluster: Cluster, *, standard: str = "restricted", create: bool = True) -> None:
        self.cluster = cluster
        self.name = f"vp-test-{secrets.token_hex(3)}"
        labels = {"pod-security.kubernetes.io/enforce": standard, "pod-security.kubernetes.io/warn": standard}
        if create:
            cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name, "labels": labels}})
            # a pod that comes before it is refused
            wait_until(lambda: self.get("ServiceAccount", "default"), 60, what="the account of the namespace's pods")

    def close(self) -> None:
        """Delete it, without waiting for the end of that."""
        if not os.environ.get(KEEP):
            self.cluster.delete("Namespace", self.name)

    def get(self, kind: str, name: str) -> Manifest | None:
        """Return one object, or None."""
        return self.cluster.get(kind, name, self.name)

    def list_all(self, kind: str, selector: str = "") -> list[Manifest]:
        """Return the objects of a kind."""
        return self.cluster.list_all(kind, self.name, selector)

    def create(self, manifest: Manifest) -> Manifest:
        """Make an object here."""
        return self.cluster.create(manifest, self.name)

    def patch(self, kind: str, name: str, body: Manifest) -> None:
        """Change an object, in the way of a merge patch."""
        self.cluster.patch(kind, name, self.name, body)

    def delete(self, kind: str, name: str, *, now: bool = False) -> None:
        """Delete an object, without waiting for its end."""
        self.cluster.delete(kind, name, self.name, now=now)

    def pods(self, name: str, release: str = "vp") -> list[Manifest]:
        """Return the pods of a chart, those that are being stopped included."""
        selector = f"app.kubernetes.io/name={name},app.kubernetes.io/instance={release}"
        return self.list_all("Pod", selector)

    def live(self, name: str, release: str = "vp") -> list[Manifest]:
        """Return the pods of a chart that are not terminating."""
        return [pod for pod in self.pods(name, release) if "deletionTimestamp" not in pod["metadata"]]

    def scale(self, kind: str, name: str, replicas: int) -> None:
        """Ask for so many pods."""
        self.patch(kind, name, {"spec": {"replicas": replicas}})

    def restart(self, name: str, kind: str = "Deployment") -> None:
        """Replace every pod, as `kubectl rollout restart` does."""
        at = {"kubectl.kubernetes.io/restartedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        self.patch(kind, name, {"spec": {"template": {"metadata": {"annotations": at}}}})

    def wait_for_rollout(self, deployment: str, timeout: float = 120) -> None:
        """Wait until all pods are of the latest template and ready, and the old ones are gone."""

        def done() -> bool:
            found = self.get("Deployment", deployment)
            assert found
            status, wanted = found["status"], found["spec"]["replicas"]
            counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "readyReplicas")]
            current = status.get("observedGeneration") == found["metadata"]["generation"]
            selector = ",".join(f"{k}={v}" for k, v in found["spec"]["selector"]["matchLabels"].items())
            return current and counts == [wanted] * 3 and len(self.list_all("Pod", selector)) == wanted

        wait_until(done, timeout, what=f"the rollout of {deployment}")

    def wait_for_pod(self, name: str, timeout: float, *, what: str) -> None:
        """Wait until a pod of ours is ready."""

        def ready() -> bool:
            pod = self.get("Pod", name)
            return pod is not None and condition(pod, "Ready")

        wait_until(ready, timeout, what=what)

    def wait_for_pods(self, name: str, count: int, timeout: float = 120, *, release: str = "vp") -> list[Manifest]:
        """Wait until the chart has exactly so many pods, all of them ready and none being deleted; return them."""

        def ready() -> list[Manifest]:
            found = self.pods(name, release)
            # one that is being deleted stays ready for a moment
            whole = all(condition(pod, "Ready") and "deletionTimestamp" not in pod["metadata"] for pod in found)
            return found if len(found) == count and whole else []

        if not count:
            wait_until(lambda: not self.pods(name, release), timeout, what=f"the end of all pods of {name}")
            return []
        return wait_until(ready, timeout, what=f"{count} ready pods of {name}")

    def wait_for_waiting_pod(self, name: str, known: Collection[str], sentence: str) -> str:
        """Wait for a new pod of the chart that is up, not ready, and says why in its log; return the pod's name."""

        def waits() -> str:
            for pod in self.live(name):
                own: str = pod["metadata"]["name"]
                status = pod["status"].get("containerStatuses", [{}])[0]
                if own not in known and status.get("started") and not status["ready"] and sentence in self.log(own):
                    return own
            return ""

        return wait_until(waits, 60, what=f"a new pod of {name} that waits")

    def restarts(self) -> dict[str, int]:
        """Return how often the containers of each pod have been restarted."""
        return {
            pod["metadata"]["name"]: sum(
                status["restartCount"] for status in pod["status"].get("containerStatuses", [])
            )
            for pod in self.list_all("Pod")
        }

    def secret(self, name: str) -> dict[str, str]:
        """Return a Secret's data as it is stored, in base64."""
        found = self.get("Secret", name)
        assert found, f"there is no Secret {name}"
        data: dict[str, str] = found["data"]
        return data

    def execute(self, pod: str, *command: str, timeout: float = 60) -> str:
        """Run a command in a pod and return what it wrote to stdout."""
        return self.cluster.execute(pod, self.name, *command, timeout=timeout)

    def shell(self, script: str, timeout: float = 300) -> str:
        """Run commands of a page here, in which kubectl and helm mean this namespace, and return what they print.

        Their `sleep` is for the kubelet, which looks at mounted Secrets once a minute, or at once when a pod changes.
        """
        where = f"--namespace={self.name}"
        functions = f"""set -euo pipefail
kubectl() {{ command kubectl --context={self.cluster.context.name} {where} "$@"; }}
helm() {{ command helm --kube-context={self.cluster.context.name} {where} "$@"; }}
sleep() {{ kubectl annotate pods --all --overwrite video-platform/look="$(date +%s.%N)" && command sleep 25; }}
"""
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "charts").symlink_to(CHARTS)
            run = subprocess.run(
                ["bash", "-c", functions + script],
                capture_output=True,
                text=True,
                timeout=timeout,
                cwd=folder,
                check=False,
            )
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    def last_words(self, pod: Manifest, container: str | None = None) -> str:
        """Return what a container wrote in its last run and in this one, as far as the node still has it."""
        text = ""
        for previous in (True, False):
            with suppress(ApiException):
                run = self.cluster.log(pod["metadata"]["name"], self.name, container=container, previous=previous)
                text += "" if run.startswith("unable to retrieve container logs") else run
        return text

    def log(self, pod: str, *, previous: bool = False) -> str:
        """Return what a pod's container has written."""
        return self.cluster.log(pod, self.name, previous=previous)

    def events_of(self, pod: str) -> list[dict[str, Any]]:
        """Return a service's log lines, parsed."""
        return [json.loads(line) for line in self.log(pod).splitlines() if line.startswith("{")]

    def report(self) -> str:
        """Say what is here and what went on, for a test that failed."""
        lines = []
        for pod in self.list_all("Pod"):
            name, status = pod["metadata"]["name"], pod["status"]
            conditions = {c["type"]: c["status"] for c in status.get("conditions", [])}
            lines.append(f"--- {name}: {status['phase']} {conditions} restarts {self.restarts().get(name)}")
            try:
                for container in status.get("containerStatuses", []):
                    lines += self.last_words(pod, container["name"]).splitlines()[-40:]
            except Exception as error:  # noqa: BLE001  # a report of what there is must not fail for what there is not
                lines.append(f"no log: {error}"[:200])
        events = self.list_all("Event")
        events.sort(key=lambda e: e.get("lastTimestamp") or e["metadata"]["creationTimestamp"])
        lines.append("--- events")
        lines += [
            f"{e.get('lastTimestamp')} {e['involvedObject']['name']}: {e['reason']}: {e.get('message')}"
            for e in events[-40:]
        ]
        return "\n".join(lines)
