"""The cluster's API, in the terms of manifests: what is read is a dictionary, as is what is written."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from kubernetes import config
from kubernetes.client import ApiClient, CoreV1Api
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.stream import stream

from support.context import Context
from tests.support import wait

Manifest = dict[str, Any]
T = TypeVar("T")

_VERSIONS = {
    "Deployment": "apps/v1",
    "ReplicaSet": "apps/v1",
    "StatefulSet": "apps/v1",
    "PodMonitor": "monitoring.coreos.com/v1",
    "PrometheusRule": "monitoring.coreos.com/v1",
    "ServiceMonitor": "monitoring.coreos.com/v1",
    "CronJob": "batch/v1",
    "EndpointSlice": "discovery.k8s.io/v1",
    "Job": "batch/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "PodDisruptionBudget": "policy/v1",
    "Role": "rbac.authorization.k8s.io/v1",
    "RoleBinding": "rbac.authorization.k8s.io/v1",
    "StorageClass": "storage.k8s.io/v1",
    "CustomResourceDefinition": "apiextensions.k8s.io/v1",
}
"""Of the kinds that are not in the core group."""


def wait_until(condition: Callable[[], T], timeout: float, *, what: str) -> T:
    """Poll `condition` ten times a second, as `tests.support.wait.wait_until` does."""
    return wait.wait_until(condition, timeout, what=what, interval=0.1)


class CommandError(Exception):
    """A command in a container failed; the text is what it wrote."""


class Cluster:
    """A cluster, through the context that was chosen."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._api = _client(context)
        self._dynamic = DynamicClient(self._api)

    def close(self) -> None:
        """Close the connections."""
        self._api.rest_client.pool_manager.clear()

    def _resource(self, kind: str, version: str = "") -> Any:
        return self._dynamic.resources.get(api_version=version or _VERSIONS.get(kind, "v1"), kind=kind)

    def get(self, kind: str, name: str, namespace: str | None = None) -> Manifest | None:
        """Return one object, or None."""
        try:
            found: Manifest = self._resource(kind).get(name=name, namespace=namespace).to_dict()
        except ApiException as error:
            if error.status == 404:
                return None
            raise
        return found

    def list_all(self, kind: str, namespace: str | None = None, selector: str = "") -> list[Manifest]:
        """Return the objects with these labels, in the order of their names."""
        found = self._resource(kind).get(namespace=namespace, label_selector=selector).to_dict()
        return sorted(found["items"], key=lambda item: item["metadata"]["name"])

    def create(self, manifest: Manifest, namespace: str | None = None) -> Manifest:
        """Make an object."""
        resource = self._resource(manifest["kind"], manifest["apiVersion"])
        created: Manifest = resource.create(body=manifest, namespace=namespace).to_dict()
        return created

    def dry_run(self, manifest: Manifest, namespace: str | None = None) -> list[str]:
        """Have the server judge an object, unknown and duplicate fields included; return its warnings.

        Raises:
            ApiException: when it refuses.
        """
        resource = self._resource(manifest["kind"], manifest["apiVersion"])
        answer = resource.create(
            body=manifest,
            namespace=namespace if resource.namespaced else None,
            query_params=[("fieldValidation", "Strict")],
            dry_run="All",
            serialize=False,
        )
        return [value for name, value in answer.headers.items() if name.lower() == "warning"]

    def patch(self, kind: str, name: str, namespace: str | None, body: Manifest) -> None:
        """Change an object, in the way of a merge patch."""
        self._resource(kind).patch(
            name=name, namespace=namespace, body=body, content_type="application/merge-patch+json"
        )

    def delete(self, kind: str, name: str, namespace: str | None = None, *, now: bool = False) -> None:
        """Delete an object, without waiting for its end; `now` gives a pod no time to stop in good order."""
        options: Manifest = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if now:
            options["gracePeriodSeconds"] = 0
        try:
            self._resource(kind).delete(name=name, namespace=namespace, body=options)
        except ApiException as error:
            if error.status != 404:
                raise

    def evict(self, pod: str, namespace: str) -> bool:
        """Ask for a pod's eviction, as a node's drain does; False when its disruption budget forbids it now."""
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
        try:
            self._resource("Pod").eviction.create(name=pod, namespace=namespace, body=body)
        except ApiException as error:
            if error.status == 429:
                return False
            raise
        return True

    def log(self, pod: str, namespace: str, *, container: str | None = None, previous: bool = False) -> str:
        """Return what a container has written."""
        pods = CoreV1Api(self._api)
        # as it is: the library would parse a log of one line of JSON
        answer: Any = pods.read_namespaced_pod_log(
            pod, namespace, container=container, previous=previous, _preload_content=False
        )
        text: str = answer.data.decode()
        return text

    def proxy(self, pod: str, namespace: str, port: int, path: str, query: Mapping[str, str] | None = None) -> str:
        """Ask a pod by HTTP, by way of the API server, and return the answer's body."""
        answer = self._dynamic.request(
            "get",
            f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/{path}",
            query_params=list((query or {}).items()),
            serialize=False,
        )
        text: str = answer.data.decode()
        return text

    def resource_metrics(self, node: str) -> str:
        """Return what a node's kubelet says of the use of memory and cores."""
        answer: Any = CoreV1Api(self._api).connect_get_node_proxy_with_path(
            node, "metrics/resource", _preload_content=False
        )
        text: str = answer.data.decode()
        return text

    def execute(self, pod: str, namespace: str, *command: str, timeout: float = 60) -> str:
        """Run a command in a pod and return what it wrote to stdout.

        Raises:
            CommandError: when it fails; with what it wrote to stderr.
        """
        return self.start(pod, namespace, *command).finish(timeout)

    def start(self, pod: str, namespace: str, *command: str) -> "Execution":
        """Run a command in a pod and return at once.

        Raises:
            CommandError: when the pod runs none, for it is starting or gone.
        """
        try:
            return Execution(_client(self.context), pod, namespace, command)
        except ApiException as error:
            raise CommandError(f"{pod} runs no command: {error.reason}") from error


class Execution:
    """A command that runs in a pod."""

    # The library's stream() replaces a method of the client that it is given, so each has one of its own.
    def __init__(self, client: ApiClient, pod: str, namespace: str, command: tuple[str, ...]) -> None:
        self._client = client
        self._socket: Any = stream(
            CoreV1Api(client).connect_get_namespaced_pod_exec,
            pod,
            namespace,
            command=list(command),
            stdin=True,
            stdout=True,
            stderr=True,
            tty=False,
            _preload_content=False,
        )
        self._text = ""
        self._errors = ""

    def tell(self, line: str) -> None:
        """Write a line to the command's stdin."""
        self._socket.write_stdin(line + "\n")

    def lines(self, timeout: float = 0.2) -> Iterator[str]:
        """Yield the whole lines that arrive within `timeout` seconds, or have arrived."""
        if self._socket.is_open():
            self._socket.update(timeout=timeout)
        self._collect()
        *whole, self._text = self._text.split("\n")
        yield from whole

    @property
    def running(self) -> bool:
        """Whether the command has not ended."""
        return bool(self._socket.is_open())

    def finish(self, timeout: float) -> str:
        """Wait for the command's end and return the rest of what it wrote to stdout.

        Raises:
            CommandError: when it failed, has no exit status, or takes longer than `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        try:
            while self._socket.is_open():
                if time.monotonic() > deadline:
                    raise CommandError(f"no end after {timeout:g} s: {self._text}{self._errors}")
                self._socket.update(timeout=1)
                self._collect()
            self._collect()
            if self._status() != 0:
                raise CommandError(self._errors + self._text)
        finally:
            self._socket.sock.shutdown()  # its close() leaves open what the server has closed
            self._client.rest_client.pool_manager.clear()
        return self._text

    def _status(self) -> int | None:
        """Return the exit status, or None when there was none, as of a container that ended at that moment."""
        try:
            status: int = self._socket.returncode
        except (IndexError, KeyError, TypeError, ValueError):  # the library expects a number in what the kubelet says
            return None
        return status

    def _collect(self) -> None:
        self._text += self._socket.read_stdout(timeout=0) if self._socket.peek_stdout(timeout=0) else ""
        self._errors += self._socket.read_stderr(timeout=0) if self._socket.peek_stderr(timeout=0) else ""


def _client(context: Context) -> ApiClient:
    client: ApiClient = config.new_client_from_config(context=context.name)
    return client


def condition(item: Manifest, name: str) -> bool:
    """Whether a condition of an object's status is true."""
    found = [c for c in (item.get("status", {}).get("conditions") or []) if c["type"] == name]
    return bool(found) and found[0]["status"] == "True"


def ready_since(pod: Manifest) -> str:
    """Return when a pod became what it is."""
    since: str = next(c for c in pod["status"]["conditions"] if c["type"] == "Ready")["lastTransitionTime"]
    return since
