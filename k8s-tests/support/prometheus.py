"""Prometheus in a pod of its own, beside the platform, that goes by the pods' annotations."""

import os
from pathlib import Path
from typing import Any

import yaml

from support.base_images import loaded
from support.cluster import Manifest
from support.namespace import Namespace
from tests.support.prometheus import Api

ROOT = Path(__file__).parents[2]
IMAGE = "K8S_TEST_PROMETHEUS_IMAGE"
"""Names an image in place of the official one."""

INTERVAL = "2s"
NAME = "prometheus"
RBAC = "rbac.authorization.k8s.io"


class Prometheus(Api):
    """Prometheus with rules, by the name of their file, and the configuration that is given for clusters.

    It may read the pods of its own namespace, and nothing else.
    """

    def __init__(self, namespace: Namespace, rules: dict[str, dict[str, Any]]) -> None:
        super().__init__(lambda path, query: namespace.cluster.proxy(NAME, namespace.name, 9090, path, query))
        self._namespace = namespace
        files = {f"{name}.rules.yaml": yaml.safe_dump(content) for name, content in rules.items()}
        files["prometheus.yml"] = yaml.safe_dump(_config())
        for manifest in _manifests(namespace.name, files, os.environ.get(IMAGE) or loaded(NAME, namespace.cluster)):
            namespace.create(manifest)
        namespace.wait_for_pod(NAME, 120, what="Prometheus")

    def close(self) -> None:
        """Take it away."""
        for kind in ("Pod", "ConfigMap", "RoleBinding", "Role", "ServiceAccount"):
            self._namespace.delete(kind, NAME, now=True)


def _config() -> dict[str, Any]:
    """The configuration for clusters, with no patience, and for one namespace."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "monitoring" / "scrape" / "kubernetes.yaml").read_text())
    config["global"] = {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL}
    config["rule_files"] = ["/etc/prometheus/*.rules.yaml"]
    (job,) = config["scrape_configs"]
    (discovery,) = job["kubernetes_sd_configs"]
    discovery["namespaces"] = {"own_namespace": True}
    return config


def _manifests(namespace: str, files: dict[str, str], image: str) -> list[Manifest]:
    metadata = {"name": NAME}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": False},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "Role",
            "metadata": metadata,
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}],
        },
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": NAME},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": namespace}],
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": files},
        {
            "apiVersion": "v1",
            "kind": "Pod",
            # the label by which the network policies let it in
            "metadata": {"name": NAME, "labels": {"app.kubernetes.io/name": "prometheus"}},
            "spec": {
                "serviceAccountName": NAME,
                "automountServiceAccountToken": True,
                "enableServiceLinks": False,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 65534,
                    "runAsGroup": 65534,
                    "fsGroup": 65534,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [
                    {
                        "name": NAME,
                        "image": image,
                        "imagePullPolicy": "IfNotPresent",
                        "args": ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"],
                        "ports": [{"name": "http", "containerPort": 9090}],
                        "readinessProbe": {"httpGet": {"port": 9090, "path": "/-/ready"}, "periodSeconds": 1},
                        "resources": {"requests": {"cpu": "20m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
                        "securityContext": {
                            "allowPrivilegeEscalation": False,
                            "readOnlyRootFilesystem": True,
                            "capabilities": {"drop": ["ALL"]},
                        },
                        "volumeMounts": [
                            {"name": "config", "mountPath": "/etc/prometheus"},
                            {"name": "data", "mountPath": "/prometheus"},
                        ],
                    }
                ],
                "volumes": [
                    {"name": "config", "configMap": {"name": NAME}},
                    {"name": "data", "emptyDir": {"sizeLimit": "512Mi"}},
                ],
            },
        },
    ]
