"""What holds for every pod of every chart, and how pods are probed and stopped."""

import re
from typing import Any

import pytest
from manifests import CHARTS, NAMES, Manifest, containers, of_kind, pods, render

WITH_EVERYTHING: dict[str, dict[str, Any]] = {
    "as it is": {},
    "with authentication": {"global": {"registry": {"auth": {"enabled": True}}}},
    "with TLS": {"global": {"tls": {"enabled": True}}},
    "with three members": {"etcd": {"replicaCount": 3}},
    "with backups": {"mysql": {"backup": {"enabled": True}}},
    "with maintenance": {"etcd": {"snapshot": {"enabled": True}, "defragmentation": {"enabled": True}}},
}
JOBS = {"with backups": 1, "with maintenance": 2}


def _pods(variant: str) -> list[tuple[str, Manifest]]:
    found = list(pods(render("video-platform", WITH_EVERYTHING[variant])))
    assert len(found) == 5 + JOBS.get(variant, 0), "gateway, user service, etcd, MySQL and the test"
    return found


@pytest.mark.parametrize("variant", WITH_EVERYTHING)
def test_the_restricted_standard_and_more(variant: str) -> None:
    for name, pod in _pods(variant):
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] > 0, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), name
        for volume in pod.get("volumes", []):
            assert volume.keys() - {"name"} <= {
                "configMap",
                "emptyDir",
                "persistentVolumeClaim",
                "projected",
                "secret",
            }, name
        for container in containers(pod):
            own = container["securityContext"]
            assert own["readOnlyRootFilesystem"] is True, name
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
            assert not {"privileged", "procMount", "runAsUser"} & own.keys(), name
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}, name
            assert container["resources"]["limits"].keys() >= {"memory"}, name


@pytest.mark.parametrize("variant", ["with authentication", "with backups"])
def test_no_secret_is_anywhere_but_in_secrets(variant: str) -> None:
    for name, pod in _pods(variant):
        for container in containers(pod):
            for variable in container.get("env", []):
                if re.search("PASSWORD|SECRET", variable["name"]) and variable["name"] != "PASSWORD_CHECK":
                    is_file = variable["name"].endswith("_FILE") and variable["value"].startswith("/run/secrets/")
                    assert is_file or "secretKeyRef" in variable["valueFrom"], f"{name}: {variable['name']}"


def test_all_keys_are_files_of_one_volume() -> None:
    """Variables are never read again, and files of two volumes may be of different versions of the Secret."""
    pod = of_kind(render("gateway-svc"), "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    paths = {each["name"]: each["value"] for each in container["env"] if each["name"].startswith("JWT_")}
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "jwt"]
    assert paths == {
        "JWT_SECRET_FILE": f"{mount['mountPath']}/jwt-secret",
        "JWT_PREVIOUS_SECRETS_FILE": f"{mount['mountPath']}/jwt-previous-secrets",
    }
    assert "subPath" not in mount  # which would never be renewed
    (volume,) = [each for each in pod["volumes"] if each["name"] == "jwt"]
    sources = [source["secret"] for source in volume["projected"]["sources"]]
    optional = {source["items"][0]["key"]: source.get("optional", False) for source in sources}
    assert optional == {"jwt-secret": False, "jwt-previous-secrets": True}
    assert len({source["name"] for source in sources}) == 1


@pytest.mark.parametrize(("service", "least"), [("user-svc", 27), ("gateway-svc", 30)])
def test_a_pod_has_the_time_to_drain(service: str, least: int) -> None:
    def period(**values: int | None) -> int:
        pod = of_kind(render(service, values), "Deployment")["spec"]["template"]["spec"]
        return pod["terminationGracePeriodSeconds"]

    assert period() == least
    assert period(drainDelaySeconds=5, graceSeconds=60) == 70
    assert period(drainDelaySeconds=0, graceSeconds=0) == 5
    assert period(terminationGracePeriodSeconds=least) == least
    assert period(terminationGracePeriodSeconds=300) == 300


@pytest.mark.parametrize("service", ["user-svc", "gateway-svc"])
def test_probes_of_the_services_ask_the_admin_port(service: str) -> None:
    (container,) = of_kind(render(service), "Deployment")["spec"]["template"]["spec"]["containers"]
    asked = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert asked == {
        "startupProbe": {"port": 9090, "path": "/livez"},
        "livenessProbe": {"port": 9090, "path": "/livez"},
        "readinessProbe": {"port": 9090, "path": "/readyz"},
    }


def test_deployments_roll_without_a_gap() -> None:
    for service in ("user-svc", "gateway-svc"):
        spec = of_kind(render(service), "Deployment")["spec"]
        assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        budget = of_kind(render(service), "PodDisruptionBudget")["spec"]
        assert budget["maxUnavailable"] == 1
        assert budget["selector"] == spec["selector"]


def test_budgets_of_etcd_are_for_three_members() -> None:
    assert not [m for m in render("etcd") if m["kind"] == "PodDisruptionBudget"]
    assert not [m for m in render("mysql") if m["kind"] == "PodDisruptionBudget"]
    assert of_kind(render("etcd", {"replicaCount": 3}), "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize("chart", NAMES)
def test_selectors_and_claims_hold_no_version(chart: str) -> None:
    versions = {"helm.sh/chart", "app.kubernetes.io/version"}
    for manifest in render(chart):
        if manifest["kind"] in {"Deployment", "StatefulSet"}:
            spec = manifest["spec"]
            assert not versions & spec["selector"]["matchLabels"].keys()
            assert not versions & spec["template"]["metadata"]["labels"].keys()
            for claim in spec.get("volumeClaimTemplates", []):
                assert not versions & claim["metadata"]["labels"].keys()
            if manifest["kind"] == "StatefulSet":
                assert spec["podManagementPolicy"] == "Parallel"


def test_services_select_pods_and_name_their_ports() -> None:
    manifests = render("video-platform")
    templates = [m["spec"]["template"] for m in manifests if "template" in m.get("spec", {})]
    for service in (m for m in manifests if m["kind"] == "Service"):
        selector = service["spec"]["selector"].items()
        (template,) = [t for t in templates if selector <= t["metadata"]["labels"].items()]
        names = {port["name"] for c in template["spec"]["containers"] for port in c["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
    headless = of_kind(manifests, "Service", "vp-user-svc")["spec"]
    assert headless["clusterIP"] == "None"
    assert headless["publishNotReadyAddresses"] is True
    assert of_kind(manifests, "Service", "vp-etcd-peers")["spec"]["publishNotReadyAddresses"] is True
    assert "clusterIP" not in of_kind(manifests, "Service", "vp-etcd")["spec"]


def test_members_are_published_to_each_other_alone() -> None:
    """A member whose authentication is not on yet takes keys from everybody."""
    manifests = render("video-platform", WITH_EVERYTHING["with authentication"])
    peers = of_kind(manifests, "Service", "vp-etcd-peers")["spec"]
    assert [port["port"] for port in peers["ports"]] == [2380]
    assert not of_kind(manifests, "Service", "vp-etcd")["spec"].get("publishNotReadyAddresses")
    (etcd,) = of_kind(manifests, "StatefulSet", "vp-etcd")["spec"]["template"]["spec"]["containers"]
    assert "--advertise-client-urls=http://vp-etcd:2379" in etcd["args"]
    assert "--enable-grpc-gateway=false" in etcd["args"]


def test_every_service_has_the_ip_families() -> None:
    families = {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6", "IPv4"]}
    values = {"global": families, "user-svc": {"metrics": {"serviceMonitor": {"enabled": True}}}}
    services = [m["spec"] for m in render("video-platform", values) if m["kind"] == "Service"]
    assert len(services) == 7
    for spec in services:
        assert families.items() <= spec.items()
    for spec in (m["spec"] for m in render("video-platform") if m["kind"] == "Service"):
        assert not families.keys() & spec.keys()


def test_three_members_know_each_other() -> None:
    stateful = of_kind(render("etcd", {"replicaCount": 3}), "StatefulSet")
    arguments = dict(a[2:].partition("=")[::2] for a in stateful["spec"]["template"]["spec"]["containers"][0]["args"])
    members = dict(member.split("=", 1) for member in arguments["initial-cluster"].split(","))
    assert members == {f"vp-etcd-{n}": f"http://vp-etcd-{n}.vp-etcd-peers:2380" for n in range(3)}
    own = arguments["initial-advertise-peer-urls"].replace("$(POD_NAME)", "vp-etcd-1")
    assert own == members["vp-etcd-1"]
    assert stateful["spec"]["serviceName"] == "vp-etcd-peers"


def test_services_of_a_release_find_each_other() -> None:
    for chart in ("user-svc", "video-platform"):
        manifests = render(chart)
        deployment = next(m for m in manifests if m["kind"] == "Deployment" and m["metadata"]["name"] == "vp-user-svc")
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        env = {variable["name"]: variable.get("value") for variable in container["env"]}
        assert of_kind(manifests, "Service", env["ETCD_ADDRESS"].removesuffix(":2379"))
        assert env["DB_DSN"] == "mysql://video_platform@vp-mysql:3306/video_platform"
        assert of_kind(manifests, "Service", "vp-mysql")


def test_external_peers_replace_the_releases_own() -> None:
    values = {
        "etcd": {"enabled": False},
        "mysql": {"enabled": False},
        "global": {
            "registry": {"address": "a:2379,b:2379", "auth": {"enabled": True, "existingSecret": "their-etcd"}},
            "database": {
                "host": "db.example.com",
                "port": 3307,
                "parameters": {"tls": "true", "collation": "utf8mb4_bin"},
            },
        },
    }
    manifests = render("video-platform", values)
    assert not [m for m in manifests if m["kind"] == "StatefulSet"]
    for name in ("vp-user-svc", "vp-gateway-svc"):
        spec = of_kind(manifests, "Deployment", name)["spec"]["template"]["spec"]
        env = {variable["name"]: variable.get("value") for variable in spec["containers"][0]["env"]}
        assert env["ETCD_ADDRESS"] == "a:2379,b:2379"
        assert "their-etcd" in [v["secret"]["secretName"] for v in spec["volumes"] if "secret" in v]
        if name == "vp-user-svc":
            dsn = "mysql://video_platform@db.example.com:3307/video_platform?collation=utf8mb4_bin&tls=true"
            assert env["DB_DSN"] == dsn


def test_image_names_have_no_unowned_registry() -> None:
    ours = {
        container["image"]
        for _, pod in _pods("as it is")
        for container in containers(pod)
        if not re.match(r"docker\.io/library/|gcr\.io/etcd-development/", container["image"])
    }
    version = (CHARTS.parent / "VERSION").read_text().strip()
    assert ours == {f"localhost/video-platform/{name}:{version}" for name in ("user-svc", "gateway-svc")}


def test_etcd_sidecar_runs_the_user_service_image() -> None:
    manifests = render("video-platform", WITH_EVERYTHING["with authentication"])
    user, etcd = (
        of_kind(manifests, kind, name)["spec"]["template"]["spec"]
        for kind, name in (("Deployment", "vp-user-svc"), ("StatefulSet", "vp-etcd"))
    )
    (sidecar,) = etcd["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["image"] == user["containers"][0]["image"]
