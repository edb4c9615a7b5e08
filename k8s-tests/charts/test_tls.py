"""TLS between the parts of the platform, by certificates of each of the three sources."""

import base64
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID
from cryptography.x509.verification import PolicyBuilder, Store
from manifests import CHARTS, NAMES, Manifest, RefusedError, merged, of_kind, pods, render

ON: dict[str, Any] = {"global": {"tls": {"enabled": True}}}
MADE = {"tls": {"existingSecret": ""}}
ISSUER = {"name": "platform", "kind": "ClusterIssuer"}
MANAGED = {"global": {"tls": {"enabled": True, "certManager": {"issuerRef": ISSUER}}}}
SERVICES = ("gateway-svc", "user-svc", "etcd", "mysql")
UMBRELLA_MADE = dict.fromkeys(SERVICES, MADE)

DNS_NAMES = {
    "gateway-svc": {"gateway-svc", "etcd-client"},
    "user-svc": {"vp-user-svc", "vp-user-svc.team", "vp-user-svc.team.svc", "user-svc", "etcd-client"},
    "etcd": {
        *("vp-etcd", "vp-etcd.team", "vp-etcd.team.svc"),
        *("*.vp-etcd-peers", "*.vp-etcd-peers.team", "*.vp-etcd-peers.team.svc"),
        *("localhost", "etcd-client"),
    },
    "mysql": {"vp-mysql", "vp-mysql.team", "vp-mysql.team.svc", "localhost"},
}


def _pod(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    pod: Manifest = of_kind(manifests, kind, name)["spec"]["template"]["spec"]
    return pod


def _env(container: Manifest) -> dict[str, Any]:
    return {variable["name"]: variable.get("value") for variable in container["env"]}


def _files(prefix: str, folder: str) -> dict[str, str]:
    names = {"CA": "ca.crt", "CERT": "tls.crt", "KEY": "tls.key"}
    return {f"{prefix}_{kind}_FILE": f"/run/secrets/{folder}/{name}" for kind, name in names.items()}


def test_nothing_speaks_tls_unless_told() -> None:
    manifests = render("video-platform")
    assert "https://" not in json.dumps(manifests)
    assert "mtls" not in json.dumps([pod for _, pod in pods(manifests)])


def test_https_example_mounts_the_files_it_names() -> None:
    page = (CHARTS.parent / "docs" / "tls-charts.md").read_text()
    (example,) = re.findall(r"## HTTPS in the gateway\n.*?```yaml\n(.*?)```", page, re.DOTALL)
    pod = _pod(render("video-platform", yaml.safe_load(example)), "Deployment", "vp-gateway-svc")
    (container,) = pod["containers"]
    files = [_env(container).get(f"HTTP_TLS_{kind}_FILE") for kind in ("CERT", "KEY")]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["mountPath"] == "/run/secrets/https"]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == mount["name"]]
    assert files == [f"{mount['mountPath']}/tls.{kind}" for kind in ("crt", "key")]
    assert volume["secret"] == {"secretName": "video-https"}


def test_each_pod_has_its_own_certificate_alone() -> None:
    values = merged(ON, {"global": {"registry": {"auth": {"enabled": True}}}})
    found = {}
    for name, pod in pods(render("video-platform", values)):
        volumes = [volume for volume in pod["volumes"] if "mtls" in json.dumps(volume)]
        found[name] = [volume["secret"]["secretName"] for volume in volumes]
        for volume in volumes:
            assert volume["secret"]["defaultMode"] == 0o440
            assert [item["path"] for item in volume["secret"]["items"]] == ["tls.crt", "tls.key", "ca.crt"]
    own = {f"vp-{service}": [f"rendered-{service}-mtls"] for service in SERVICES}
    assert found == {**own, "vp-gateway-svc-test": []}


def test_services_are_told_where_certificates_are() -> None:
    manifests = render("video-platform", ON)
    user, gateway = (_env(_pod(manifests, "Deployment", f"vp-{name}")["containers"][0]) for name in SERVICES[1::-1])
    etcd = {"ETCD_ADDRESS": "https://vp-etcd:2379", **_files("ETCD", "mtls")}
    grpc = _files("GRPC_TLS", "mtls")
    assert {**etcd, **grpc, **_files("DB", "mtls"), "GRPC_TLS_CLIENT_NAMES": "gateway-svc"}.items() <= user.items()
    assert {**etcd, **grpc, "GRPC_TLS_SERVER_NAME": "user-svc"}.items() <= gateway.items()
    assert of_kind(manifests, "Service", "vp-user-svc")["spec"]["ports"][0]["appProtocol"] == "https"


def test_etcd_asks_clients_and_peers_for_certificates() -> None:
    values = merged(ON, {"replicaCount": 3, "global": {"registry": {"auth": {"enabled": True}}}})
    pod = _pod(render("etcd", values), "StatefulSet", "vp-etcd")
    (etcd,) = pod["containers"]
    arguments = dict(argument[2:].partition("=")[::2] for argument in etcd["args"])
    for prefix in ("", "peer-"):
        assert arguments[f"{prefix}client-cert-auth"] == ""
        assert arguments[f"{prefix}trusted-ca-file"] == "/run/secrets/mtls/ca.crt"
        assert arguments[f"{prefix}cert-file"] == "/run/secrets/mtls/tls.crt"
        assert arguments[f"{prefix}key-file"] == "/run/secrets/mtls/tls.key"
    assert arguments["client-cert-allowed-hostname"] == "etcd-client"
    assert arguments["peer-cert-allowed-hostname"] in DNS_NAMES["etcd"]
    urls = [value for name, value in arguments.items() if "url" in name and "metrics" not in name]
    assert len(urls) == 4
    assert all(url.startswith("https://") for url in urls)
    assert arguments["initial-cluster"].count("=https://vp-etcd-") == 3
    assert arguments["listen-metrics-urls"].startswith("http://")
    assert (
        _env(etcd).items()
        >= {
            "ETCDCTL_ENDPOINTS": "https://localhost:2379",
            "ETCDCTL_CACERT": "/run/secrets/mtls/ca.crt",
            "ETCDCTL_CERT": "/run/secrets/mtls/tls.crt",
            "ETCDCTL_KEY": "/run/secrets/mtls/tls.key",
        }.items()
    )
    sidecar = _env(pod["initContainers"][0])
    assert {"ETCD_ADDRESS": "https://localhost:2379", **_files("ETCD", "mtls")}.items() <= sidecar.items()


def test_mysql_takes_encrypted_connections_with_certificates_alone() -> None:
    manifests = render("mysql", ON)
    pod = _pod(manifests, "StatefulSet", "vp-mysql")
    assert {
        "--require-secure-transport=ON",
        "--ssl-ca=/run/secrets/mtls/ca.crt",
        "--ssl-cert=/run/secrets/mtls/tls.crt",
        "--ssl-key=/run/secrets/mtls/tls.key",
        "--init-file=/etc/chart/account.sql",
    } <= set(pod["containers"][0]["args"])
    account = of_kind(manifests, "ConfigMap")["data"]["account.sql"]
    assert account.strip() == "ALTER USER IF EXISTS 'video_platform'@'%' REQUIRE X509;"
    (sidecar,) = pod["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["image"] == pod["containers"][0]["image"]


def test_mysql_without_tls_accepts_the_old_account() -> None:
    """An account that was made to need a certificate would lock everybody out after a rollback."""
    manifests = render("mysql")
    account = of_kind(manifests, "ConfigMap")["data"]["account.sql"]
    assert account.strip() == "ALTER USER IF EXISTS 'video_platform'@'%' REQUIRE NONE;"
    assert "initContainers" not in _pod(manifests, "StatefulSet", "vp-mysql")


ELSEWHERE: dict[str, Any] = {
    "etcd": {"enabled": False},
    "mysql": {"enabled": False},
    "global": {
        "registry": {"address": "https://a.example.com:2379,https://b.example.com:2379"},
        "database": {"host": "db.example.com", "parameters": {"tls": "true"}},
    },
}


@pytest.mark.parametrize(
    ("values", "files"),
    [
        (ON, _files("ETCD", "mtls")),
        ({"global": {"registry": {"tls": {"existingSecret": "their-etcd"}}}}, _files("ETCD", "registry-tls")),
        (
            {"global": {"registry": {"tls": {"existingSecret": "their-etcd", "clientCertificate": False}}}},
            {"ETCD_CA_FILE": "/run/secrets/registry-tls/ca.crt"},
        ),
    ],
    ids=["our certificate", "theirs", "their CA alone"],
)
def test_external_etcd_uses_its_address_scheme(values: dict[str, Any], files: dict[str, str]) -> None:
    manifests = render("video-platform", merged(ELSEWHERE, values))
    for name in ("vp-user-svc", "vp-gateway-svc"):
        pod = _pod(manifests, "Deployment", name)
        env = _env(pod["containers"][0])
        assert env["ETCD_ADDRESS"] == ELSEWHERE["global"]["registry"]["address"]
        assert {key: value for key, value in env.items() if key.startswith("ETCD_") and "FILE" in key} == files
        assert not [key for key in env if key.startswith("DB_") and "CERT" in key], "its MySQL goes by parameters"
        folders = {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        assert {str(Path(file).parent) for file in files.values()} <= folders


def test_plain_etcd_elsewhere_stays_plain() -> None:
    plain = merged(ON, ELSEWHERE, {"global": {"registry": {"address": "etcd.example.com:2379"}}})
    env = _env(_pod(render("video-platform", plain), "Deployment", "vp-gateway-svc")["containers"][0])
    assert not [name for name in env if name.startswith("ETCD_") and name.endswith("_FILE")]


def test_cert_manager_issues_a_certificate_for_each_chart() -> None:
    manifests = render("video-platform", merged(MANAGED, UMBRELLA_MADE))
    found = {m["metadata"]["labels"]["app.kubernetes.io/name"]: m for m in manifests if m["kind"] == "Certificate"}
    assert {name: set(m["spec"]["dnsNames"]) for name, m in found.items()} == DNS_NAMES
    for name, manifest in found.items():
        spec = manifest["spec"]
        assert spec["issuerRef"] == ISSUER
        assert not {"commonName", "subject", "literalSubject"} & spec.keys()
        assert set(spec["usages"]) >= {"server auth", "client auth"}
        kind = "Deployment" if name.endswith("-svc") else "StatefulSet"
        volumes = _pod(manifests, kind, f"vp-{name}")["volumes"]
        assert spec["secretName"] in [volume["secret"]["secretName"] for volume in volumes if "secret" in volume]
    assert "Secret" not in {manifest["kind"] for manifest in manifests}


@pytest.mark.parametrize("chart", NAMES)
def test_the_installed_chart_generates_certificates(chart: str) -> None:
    made = UMBRELLA_MADE if chart == "video-platform" else {**MADE, **dict.fromkeys(_below(chart), MADE)}
    names = [m["metadata"]["name"] for m in render(chart, merged(MANAGED, made)) if m["kind"] == "Certificate"]
    expected = SERVICES if chart == "video-platform" else (chart, *_below(chart))
    assert sorted(names) == sorted(f"vp-{name}-mtls" for name in expected)


def _below(chart: str) -> list[str]:
    return [path.name for path in CHARTS.joinpath(chart, "charts").iterdir() if path.name != "lib"]


@pytest.mark.parametrize("chart", NAMES)
def test_no_certificate_is_made_without_a_cluster(chart: str) -> None:
    made = UMBRELLA_MADE if chart == "video-platform" else MADE
    with pytest.raises(RefusedError) as refusal:
        render(chart, merged(ON, made))
    for said in refusal.value.args:
        assert "no cluster to look for the Secret vp-" in said
        assert (
            "Name cert-manager's issuer in global.tls.certManager.issuerRef, or a Secret in tls.existingSecret" in said
        )


def test_secret_of_a_plain_etcd_is_refused() -> None:
    values = merged(ELSEWHERE, {"global": {"registry": {"address": "a:2379", "tls": {"existingSecret": "their-etcd"}}}})
    with pytest.raises(RefusedError, match=r"name it in global\.registry\.address as https://host:port"):
        render("video-platform", values)


def test_etcd_elsewhere_with_tls_needs_its_ca() -> None:
    with pytest.raises(RefusedError, match=r"name the Secret with the CA of that etcd in global\.registry\.tls"):
        render("video-platform", ELSEWHERE)


@pytest.fixture(scope="module", params=["helm", "helm4"])
def certificates(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, helms: list[str]
) -> dict[str, x509.Certificate]:
    """What the library chart makes, without a cluster: a CA and a certificate for each chart."""
    chart = tmp_path_factory.mktemp("chart")
    (chart / "charts").mkdir()
    (chart / "charts" / "lib").symlink_to(CHARTS / "lib")
    (chart / "templates").mkdir()
    dependencies = [{"name": "lib", "version": (CHARTS.parent / "VERSION").read_text().strip()}]
    about = {"apiVersion": "v2", "name": "made", "version": "1.0.0", "dependencies": dependencies}
    (chart / "Chart.yaml").write_text(yaml.safe_dump(about))
    (chart / "templates" / "made.yaml").write_text("""
{{- $ca := include "vp.tls.newCA" "vp-mtls-ca" | fromYaml }}
ca: {{ $ca.cert }}
{{- $signer := buildCustomCert $ca.cert $ca.key }}
{{- range $name := list "gateway-svc" "user-svc" "etcd" "mysql" }}
{{- $names := include "vp.tls.names" (merge (dict "Chart" (dict "Name" $name)) $) | fromYamlArray }}
{{ $name }}: {{ get (include "vp.tls.leaf" (dict "names" $names "ca" $signer) | fromYaml) "cert" }}
{{- end }}
""")
    helm = helms[request.param == "helm4"]
    command = [helm, "template", "vp", str(chart), "--namespace", "team"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    made = yaml.safe_load(run.stdout).items()
    return {name: x509.load_pem_x509_certificate(base64.b64decode(text)) for name, text in made}


@pytest.mark.parametrize("chart", SERVICES)
def test_generated_certificates_have_sans_but_no_cn(certificates: dict[str, x509.Certificate], chart: str) -> None:
    certificate = certificates[chart]
    assert list(certificate.subject) == []
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    assert set(names.value.get_values_for_type(x509.DNSName)) == DNS_NAMES[chart]
    usages = certificate.extensions.get_extension_for_oid(ExtensionOID.EXTENDED_KEY_USAGE).value
    assert set(usages) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days >= 3650
    verifier = PolicyBuilder().store(Store([certificates["ca"]])).build_client_verifier()
    verified = verifier.verify(certificate, []).subjects
    assert verified is not None
    assert {name.value for name in verified} == DNS_NAMES[chart]


def test_only_etcd_clients_have_its_client_name(certificates: dict[str, x509.Certificate]) -> None:
    assert {name for name in SERVICES if "etcd-client" in DNS_NAMES[name]} == {"gateway-svc", "user-svc", "etcd"}
    assert all(certificates[name].issuer == certificates["ca"].subject for name in SERVICES)
