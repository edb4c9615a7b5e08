"""What containers use, as the kubelet measures it."""

import time

from kubernetes.utils import parse_quantity
from prometheus_client.parser import text_string_to_metric_families

from support.cluster import Manifest
from support.namespace import Namespace

MIB = 2**20
SHORTEST = 15.0
"""Seconds over which cores are averaged at least: in fewer, the program of one probe would pass for a load."""

Container = tuple[str, str]
"""The names of a pod and of a container in it."""


class Usage:
    """What each container of a namespace used from a moment on.

    Of memory it is the working set, which is also what is held against a limit
    (https://kubernetes.io/docs/reference/instrumentation/node-metrics/).
    """

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._first = self._read("container_cpu_usage_seconds")

    def memory(self) -> dict[Container, float]:
        """Return what each container holds now, in MiB."""
        return {
            container: value / MIB for container, (value, _) in self._read("container_memory_working_set_bytes").items()
        }

    def cores(self) -> dict[Container, float]:
        """Return how many cores each container has used on the average, once SHORTEST has passed for it."""
        used = {}
        for container, (value, at) in self._read("container_cpu_usage_seconds").items():
            before, since = self._first.get(container, (0.0, at))
            if at - since >= SHORTEST:
                used[container] = (value - before) / (at - since)
        return used

    def _read(self, name: str) -> dict[Container, tuple[float, float]]:
        """Return the value for each container, and when it was measured, in seconds."""
        found = {}
        for node in self._namespace.cluster.list_all("Node"):
            text = self._namespace.cluster.resource_metrics(node["metadata"]["name"])
            (family,) = (family for family in text_string_to_metric_families(text) if family.name == name)
            for sample in family.samples:
                if sample.labels["namespace"] == self._namespace.name:
                    at = float(sample.timestamp or time.time())
                    found[sample.labels["pod"], sample.labels["container"]] = (sample.value, at)
        return found


def requested(pod: Manifest, resource: str) -> dict[Container, float]:
    """Return what each container of a pod that stays asks for, in bytes or cores."""
    spec = pod["spec"]
    sidecars = [c for c in spec.get("initContainers", []) if c.get("restartPolicy") == "Always"]
    return {
        (pod["metadata"]["name"], container["name"]): float(
            parse_quantity(container["resources"]["requests"][resource])
        )
        for container in spec["containers"] + sidecars
    }
