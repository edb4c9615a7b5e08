"""Helm 3 and Helm 4 on the same charts: what is generated stays, whatever is done to a release.

The release is a gateway beside the platform, whose user services it finds, so that it is small and yet becomes ready.
"""

import base64
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cluster import Cluster, Manifest, wait_until
from support.namespace import CHARTS, Namespace
from support.platform import Platform
from support.registry import serve
from support.release import HelmError, Release

GATEWAY: dict[str, Any] = {
    "replicaCount": 1,
    "drainDelaySeconds": 0,
    "graceSeconds": 5,
    "resources": {"requests": {"cpu": "20m"}},
    "etcd": {"enabled": False},
    "global": {"registry": {"address": "vp-etcd:2379"}},
}
CHANGED = {**GATEWAY, "log": {"level": "DEBUG"}}
PROCEDURE = "docs/secrets.md has the steps"


@pytest.fixture(scope="module", params=["helm", "helm4"])
def program(request: pytest.FixtureRequest) -> str:
    """One Helm after the other."""
    name: str = request.param
    if not shutil.which(name):
        pytest.skip(f"{name} is not on the PATH.")
    return name


@pytest.fixture
def gate(platform: Platform, program: str) -> Iterator["Gate"]:
    """A gateway that is not installed yet; nothing of it is left afterwards."""
    gate = Gate(platform.namespace, program)
    yield gate
    gate.remove()


class Gate:
    """A release of the gateway's chart, and the Secret that was made for it."""

    def __init__(self, namespace: Namespace, program: str, chart: str | Path = "gateway-svc") -> None:
        self.namespace = namespace
        # digits alone, which neither YAML nor a Service takes for a name
        self.release = Release(namespace, str(secrets.randbelow(10**6)), chart, program=program)
        self.name = f"r{self.release.name}-gateway-svc"

    def key(self) -> str:
        """Return the key that signs tokens."""
        return base64.b64decode(self.namespace.secret(f"{self.name}-jwt")["jwt-secret"]).decode()

    def rotate(self) -> str:
        """Change the key as docs/secrets.md says, and return the new one."""
        old = self.key()
        page = (CHARTS.parent / "docs" / "secrets.md").read_text()
        (section,) = re.findall(r"\*\*To rotate the JWT key\*\*(.*?)\n\*\*To change", page, re.DOTALL)
        for step in re.findall(r"```sh\n(.*?)```", section, re.DOTALL):
            self.namespace.shell(step.replace("vp-gateway-svc", self.name))
        assert self.key() != old
        return self.key()

    def scale(self, replicas: int) -> None:
        """Ask for so many pods by `kubectl scale`, whose field manager Helm 4 respects."""
        self.namespace.shell(f"kubectl scale deployment/{self.name} --replicas={replicas}")

    def replicas(self) -> int:
        """Return how many pods are asked for."""
        found = self.namespace.get("Deployment", self.name)
        assert found
        count: int = found["spec"]["replicas"]
        return count

    def remove(self) -> None:
        """Take away the release, and what outlives one."""
        self.release.helm("uninstall", self.release.name, "--ignore-not-found")
        if self.namespace.get("Secret", f"{self.name}-jwt"):
            self.namespace.delete("Secret", f"{self.name}-jwt")


def test_release_keeps_its_key_and_its_scale(gate: Gate, program: str) -> None:
    gate.release.install(GATEWAY)
    made = gate.key()
    assert re.fullmatch("[A-Za-z0-9]{40}", made)
    gate.scale(2)
    gate.release.upgrade(CHANGED)
    assert (gate.key(), gate.replicas()) == (made, 2)
    rotated = gate.rotate()
    gate.release.rollback(1, *overwrite(program))
    assert (gate.key(), gate.replicas()) == (rotated, 1)
    gate.release.upgrade(CHANGED)
    assert gate.key() == rotated


def test_changed_replica_count_wins_over_kubectl_scale(gate: Gate, program: str) -> None:
    gate.release.install(GATEWAY, "--wait=false")
    gate.scale(3)
    gate.release.upgrade({**GATEWAY, "replicaCount": 3}, "--wait=false")
    assert gate.replicas() == 3
    gate.release.upgrade({**GATEWAY, "replicaCount": 2}, "--wait=false", *overwrite(program))
    assert gate.replicas() == 2


def overwrite(program: str) -> list[str]:
    """Return what lets Helm 4 change a number that `kubectl scale` has set."""
    return ["--force-conflicts"] if program == "helm4" else []


def test_key_outlives_uninstall(gate: Gate) -> None:
    gate.release.install(GATEWAY, "--wait=false")
    made = gate.key()
    gate.release.uninstall()
    assert gate.key() == made
    gate.release.install(GATEWAY, "--wait=false")
    assert gate.key() == made


def test_key_outlives_a_first_install_that_fails(gate: Gate, program: str) -> None:
    undo = "--atomic" if program == "helm" else "--rollback-on-failure"
    broken = {**GATEWAY, "image": {"tag": "there-is-none"}}
    with pytest.raises(HelmError):
        gate.release.install(broken, undo, timeout=8)  # long enough for the hook that makes the key
    assert gate.namespace.get("Deployment", gate.name) is None
    made = gate.key()
    gate.release.upgrade(GATEWAY, "--install", "--wait=false")
    assert gate.key() == made


def test_creating_the_secret_repairs_upgrades_without_hooks(gate: Gate) -> None:
    gate.release.install(GATEWAY, "--no-hooks", "--wait=false")
    assert gate.namespace.get("Secret", f"{gate.name}-jwt") is None
    with pytest.raises(HelmError, match=f"the Secret {gate.name}-jwt is gone, and the running Deployment"):
        gate.release.upgrade(CHANGED)
    data = {"jwt-secret": base64.b64encode(b"k" * 32).decode()}
    gate.namespace.create(
        {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": f"{gate.name}-jwt"}, "data": data}
    )
    gate.release.upgrade(CHANGED)
    assert gate.key() == "k" * 32


LIVE = "a value that is in the Secret now"
OTHER = "another value that is not in the Secret"


@pytest.mark.parametrize(
    ("chart", "secret", "setting"),
    [
        ("gateway-svc", "given-gateway-svc-jwt", "jwt.secret"),
        ("gateway-svc", "given-gateway-svc-jwt", "jwt.previousSecrets"),
        ("mysql", "given-mysql", "auth.password"),
        ("mysql", "given-mysql", "auth.rootPassword"),
    ],
)
def test_changed_secret_is_refused(platform: Platform, program: str, chart: str, secret: str, setting: str) -> None:
    release = Release(platform.namespace, "given", chart, program=program)
    values = GATEWAY if chart == "gateway-svc" else {}
    group, _, name = setting.partition(".")

    def render(value: str) -> list[Manifest]:
        return release.render({**values, group: {name: [value] if name.endswith("s") else value}})

    keys = ("jwt-secret", "jwt-previous-secrets", "password", "root-password")
    data = dict.fromkeys(keys, base64.b64encode(LIVE.encode()).decode())
    platform.namespace.create({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": secret}, "data": data})
    try:
        with pytest.raises(
            HelmError, match=f"{setting} is not what the Secret {secret} holds .*{PROCEDURE}"
        ) as refusal:
            render(OTHER)
        assert LIVE not in str(refusal.value)
        assert "Secret" not in {manifest["kind"] for manifest in render(LIVE)}
    finally:
        platform.namespace.delete("Secret", secret)
    (made,) = [manifest for manifest in render(OTHER) if manifest["kind"] == "Secret"]
    assert base64.b64encode(OTHER.encode()).decode() in made["data"].values()


def test_client_side_dry_run_is_refused(gate: Gate) -> None:
    with pytest.raises(HelmError, match="no cluster to look for the Secret"):
        gate.release.install(GATEWAY, "--dry-run=client")


def test_older_chart_revisions_are_not_reapplied(platform: Platform, program: str, tmp_path: Path) -> None:
    gate = Gate(platform.namespace, program, older_chart(tmp_path))
    try:
        gate.release.install(GATEWAY, "--wait=false")
        made = gate.key()
        gate.release.upgrade(GATEWAY, "--wait=false", chart=CHARTS / "gateway-svc")
        assert gate.key() == made, "an upgrade that leaves it out of the manifest does not delete it"
        rotated = gate.rotate()
        old = f"owner=helm,name={gate.release.name},status=superseded"
        for secret in platform.namespace.list_all("Secret", old):
            platform.namespace.delete("Secret", secret["metadata"]["name"])
        with pytest.raises(HelmError, match="has no 1 version"):
            gate.release.rollback(1)
        assert gate.key() == rotated
    finally:
        gate.remove()


def older_chart(folder: Path) -> Path:
    """Copy the gateway's chart as it was while the Secret stood in its manifest."""
    shutil.copytree(CHARTS, folder / "charts", symlinks=True)
    (folder / "charts" / "gateway-svc" / "templates" / "secret.yaml").write_text("""
apiVersion: v1
kind: Secret
metadata:
  name: {{ include "gateway-svc.secretName" . }}
  annotations:
    helm.sh/resource-policy: keep
stringData:
  jwt-secret: {{ randAlphaNum 40 }}
""")
    return folder / "charts" / "gateway-svc"


EDITOR: Manifest = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "RoleBinding",
    "metadata": {"name": "installer"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
    "subjects": [{"kind": "User", "name": "installer", "apiGroup": "rbac.authorization.k8s.io"}],
}


def test_who_may_see_one_namespace_can_install(gate: Gate) -> None:
    gate.namespace.create(EDITOR)
    try:
        gate.release.install(GATEWAY, "--wait=false", "--kube-as-user=installer")
        made = gate.key()
        gate.release.upgrade(CHANGED, "--wait=false", "--kube-as-user=installer")
        assert gate.key() == made
    finally:
        gate.namespace.delete("RoleBinding", "installer")


def test_the_namespace_may_be_new(cluster: Cluster, program: str) -> None:
    fresh = Namespace(cluster, create=False)
    gate = Gate(fresh, program)
    try:
        gate.release.install(GATEWAY, "--wait=false", "--create-namespace")
        assert len(gate.key()) == 40
    finally:
        fresh.close()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where charts go in an empty registry on this machine."""
    build = [str(CHARTS.parent / "k8s-tests" / "cluster" / "binaries.sh"), "registry"]
    folder = subprocess.run(build, stdout=subprocess.PIPE, text=True, timeout=900, check=True).stdout.strip()
    with serve(f"{folder}/registry", tmp_path_factory.mktemp("registry")) as address:
        yield address


def test_a_packaged_chart_is_installed_as_rancher_does(
    platform: Platform, program: str, registry: str, tmp_path: Path
) -> None:
    package = ["make", "charts-package", f"DIST={tmp_path}", f"PUSH={registry}", "PUSH_FLAGS=--plain-http"]
    environment = {**os.environ, "HELM": program}
    subprocess.run(package, cwd=CHARTS.parent, env=environment, capture_output=True, timeout=60, check=True)
    gate = Gate(platform.namespace, program, f"{registry}/gateway-svc")
    cattle = {"systemDefaultRegistry": "", "clusterId": "local", "rkePathPrefix": ""}
    values = {**GATEWAY, "global": {**GATEWAY["global"], "cattle": cattle}}
    rancher = ("--install", "--history-max=5", "--labels=catalog.cattle.io/cluster-repo-name=video")
    try:
        gate.release.upgrade(values, *rancher, "--plain-http")
        assert len(gate.key()) == 40
    finally:
        gate.remove()


def test_turning_autoscaling_on_keeps_the_pods(gate: Gate) -> None:
    """Without metrics an autoscaler leaves the number alone, if it is not below its fewest."""
    on = {"autoscaling": {"enabled": True, "minReplicas": 2, "maxReplicas": 4}}
    other = {"commonAnnotations": {"example.com/changed": "yes"}}

    def pods() -> set[str]:
        return {pod["metadata"]["uid"] for pod in gate.namespace.live("gateway-svc", gate.release.name)}

    gate.release.install({**GATEWAY, "replicaCount": 3}, "--wait=false")
    wait_until(lambda: len(pods()) == 3, 30, what="three pods")
    before = pods()
    for values in (
        {"replicaCount": 3, **on},
        {"replicaCount": 3, **on, **other},
        {"replicaCount": None},
        {"replicaCount": None, **other},
        {"replicaCount": 3},
    ):
        gate.release.upgrade({**GATEWAY, **values}, "--wait=false")
        assert gate.replicas() == 3
        assert pods() == before, values


def test_new_release_leaves_the_number_to_its_autoscaler(gate: Gate) -> None:
    values = {**GATEWAY, "autoscaling": {"enabled": True, "minReplicas": 2, "maxReplicas": 4}}
    gate.release.install(values, "--wait=false")
    wait_until(lambda: gate.replicas() == 2, 60, what="the autoscaler to ask for its fewest")
    gate.release.upgrade({**values, "commonAnnotations": {"example.com/changed": "yes"}}, "--wait=false")
    assert gate.replicas() == 2
    assert "\n  replicas:" not in gate.release.manifest()
