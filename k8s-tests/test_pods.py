"""What runs is as safe as the charts say: asserted on live pods, beyond what the namespace enforces."""

import pytest
from kubernetes.client.exceptions import ApiException
from support.platform import Platform
from support.release import Release

ALL = ("user-svc", "gateway-svc", "etcd", "mysql")


@pytest.mark.parametrize("name", ALL)
def test_pod_is_locked_down(platform: Platform, name: str) -> None:
    for pod in platform.namespace.live(name):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]
            assert "/var/run/secrets/kubernetes.io/serviceaccount" not in {
                m["mountPath"] for m in container["volumeMounts"]
            }


@pytest.mark.parametrize("name", ["user-svc", "gateway-svc"])
def test_container_is_what_its_manifest_says(platform: Platform, name: str) -> None:
    pod = platform.namespace.live(name)[0]["metadata"]["name"]
    program = """
import os, pathlib
def writable(path):
    try:
        pathlib.Path(path, "probe").touch()
    except OSError:
        return False
    return True
status = {name: value.strip() for name, value in (line.split(":", 1) for line in open("/proc/self/status"))}
print(os.getuid(), *map(writable, ("/", "/app", "/tmp")))
print(status["Seccomp"], int(status["CapEff"], 16), status["NoNewPrivs"])
print(os.path.exists("/var/run/secrets/kubernetes.io"), "VP_MYSQL_SERVICE_HOST" in os.environ)
"""
    found = platform.namespace.execute(pod, "python", "-c", program).split()
    assert found == ["10001", "False", "False", "True", "2", "0", "1", "False", "False"]


@pytest.mark.parametrize("name", ["user-svc", "gateway-svc"])
def test_no_secret_in_environment_or_arguments(platform: Platform, name: str) -> None:
    pod = platform.namespace.live(name)[0]["metadata"]["name"]
    program = "print(open('/proc/1/environ').read(), open('/proc/1/cmdline').read())"
    seen = platform.namespace.execute(pod, "python", "-c", program)
    assert "PATH=" in seen
    for secret in platform.secrets():
        assert secret not in seen


def test_no_secret_in_any_log(platform: Platform) -> None:
    secrets = platform.secrets()
    assert len(secrets) >= 3
    for name in ALL:
        for pod in platform.namespace.live(name):
            log = platform.namespace.log(pod["metadata"]["name"])
            assert log
            assert not [secret for secret in secrets if secret in log]


def test_etcd_takes_no_keys_over_http(platform: Platform) -> None:
    """Neither from a pod that may use etcd: a browser would send this for any web page."""
    headers = {"Content-Type": "text/plain", "Origin": "http://evil.example"}
    request = {"method": "POST", "url": "http://vp-etcd:2379/v3/kv/put", "headers": headers}
    answer = platform.client_pod.ask({**request, "body": '{"key": "cGxhbnRlZA==", "value": "MQ=="}'})[0]
    assert answer["status"] == 404
    assert platform.etcdctl("get", "planted") == ""


def test_namespace_enforces_the_standard(platform: Platform) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "careless"},
        "spec": {"containers": [{"name": "careless", "image": "none"}]},
    }
    with pytest.raises(ApiException) as refusal:
        platform.namespace.create(pod)
    assert "violates PodSecurity" in str(refusal.value.body)


def test_strict_dry_run(platform: Platform) -> None:
    """Another release of everything that can be switched on, judged by the server: no unknown field, no warning."""
    everything = {
        "user-svc": {"autoscaling": {"enabled": True}},
        "gateway-svc": {"autoscaling": {"enabled": True}, "ingress": {"enabled": True}},
        "etcd": {"replicaCount": 3},
        "global": {"registry": {"auth": {"enabled": True}}},
    }
    manifests = Release(platform.namespace, "other").render(everything)
    kinds = {manifest["kind"] for manifest in manifests}
    assert kinds >= {"HorizontalPodAutoscaler", "Ingress", "NetworkPolicy", "PodDisruptionBudget", "Pod"}
    for manifest in manifests:
        if manifest["kind"] == "Pod":
            manifest["spec"]["serviceAccountName"] = "default"  # its own is not made in a dry run
        assert platform.namespace.cluster.dry_run(manifest, platform.namespace.name) == []


def test_repeated_upgrade_changes_no_pod(platform: Platform) -> None:
    before = {pod["metadata"]["uid"] for name in ALL for pod in platform.namespace.live(name)}
    platform.release.upgrade(platform.values)
    assert platform.release.warnings == ""
    assert {pod["metadata"]["uid"] for name in ALL for pod in platform.namespace.live(name)} == before
