"""The umbrella with values-production.yaml: all that a careful operator turns on, together."""

import json
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

import pytest
from conftest import Record
from support.client_pod import ClientPod
from support.cluster import Manifest, wait_until
from support.namespace import CHARTS, Namespace
from support.platform import SMALL, Platform
from support.release import HelmError, Release
from test_backups import ended, start_backup
from test_install import test_release_test_is_green, test_seed_flow_byte_for_byte  # noqa: F401  # on this platform, too
from test_rollouts import STEADY, test_restart  # noqa: F401

from tests.support.certificates import AUTHORITY, CERTIFICATE, KEY, Authority

FILE = CHARTS / "video-platform" / "values-production.yaml"
CHARTS_WITH_TLS = ("gateway-svc", "user-svc", "etcd", "mysql")
CONNECTIONS = {"gateway-svc": 2, "user-svc": 3}
"""The kinds of connection that a service uses its certificate for, each of which takes a renewed one by itself."""

REQUESTS = {"user-svc": "200m", "gateway-svc": "50m", "etcd": "50m", "mysql": "50m"}
"""What fits on one small node, and keeps hashing from starving on a busy one."""
ARGUMENTS = [
    f"--values={FILE}",
    *(f"--set={name}.resources.requests.cpu={cpu}" for name, cpu in REQUESTS.items()),
    f"--set=user-svc.bcryptCost={SMALL['user-svc']['bcryptCost']}",
]


class Production(Platform):
    """A platform whose etcd wants a password, and whose parts have certificates."""

    def etcdctl(self, *arguments: str, member: str = "vp-etcd-0") -> str:
        """Run etcdctl in a member, as root."""
        root = f"--user=root:{self.secret_values('vp-etcd')['root-password']}"
        return super().etcdctl(root, *arguments, member=member)

    def identity(self, chart: str) -> dict[str, str]:
        """Return the certificate of a chart, its key and its CA."""
        files = self.secret_values(f"vp-{chart}-mtls")
        return {"ca": files[AUTHORITY], "certificate": files[CERTIFICATE], "key": files[KEY]}


@pytest.fixture(scope="module")
def production(new_namespace: Callable[..., Namespace]) -> Production:
    """The platform as the file has it, but for what its pods request."""
    platform = Production(new_namespace(), {"etcd": {"replicaCount": 3}})
    platform.values = {}
    platform.install(*ARGUMENTS)
    return platform


@pytest.fixture
def platform(production: Production) -> Production:
    """The same, whole."""
    production.restore()
    return production


def reaches_all(pod: ClientPod, peers: Collection[str]) -> bool:
    """Whether each `host:port` accepts a connection of the pod."""
    return set(json.loads(pod.run("connect.py", "5", *peers))) == set(peers)


@pytest.fixture(scope="module")
def strangers(production: Production) -> Iterator[Callable[..., Any]]:
    """Tries identities on the ports behind TLS, from pods that the NetworkPolicies let through to them."""
    pods = {name: ClientPod(production.namespace, f"stranger-{name}", name, "user-svc") for name in CHARTS_WITH_TLS[:2]}
    for pod in pods.values():
        pod.wait()
    peers = {"gateway-svc": {"user-svc": "vp-user-svc:8888", "etcd": "vp-etcd:2379"}}
    peers["user-svc"] = {"mysql": "vp-mysql:3306"}
    for name, pod in pods.items():
        # the policies let a new pod through a moment after it is there
        wait_until(partial(reaches_all, pod, peers[name].values()), 60, what=f"{pod.name} to reach its peers")
    password = production.secret_values("vp-mysql")["password"]

    def attempt(identities: dict[str, dict[str, str] | None], password: str = password) -> dict[str, dict[str, str]]:
        login = {"user": "video_platform", "password": password}
        answers: dict[str, dict[str, str]] = {name: {} for name in identities}
        for name, pod in pods.items():
            given = {"identities": identities, "peers": peers[name], "mysql": login}
            for identity, found in json.loads(pod.run("strangers.py", json.dumps(given))).items():
                answers[identity] |= found
        return answers

    yield attempt
    for pod in pods.values():
        production.namespace.delete("Pod", pod.name, now=True)


def test_strangers_are_refused(production: Production, strangers: Callable[..., Any]) -> None:
    """Even those that know MySQL's password."""
    own = {name: data.decode() for name, data in Authority().issue("gateway-svc", "user-svc", "etcd-client").items()}
    trusted = production.identity("gateway-svc")["ca"]
    answers = strangers(
        {
            "plaintext": None,
            "no certificate": {"ca": trusted},
            "another CA": {"ca": trusted, "certificate": own[CERTIFICATE], "key": own[KEY]},
        }
    )
    for name, found in answers.items():
        assert found.pop("mysql") != "OK", name
        assert found == dict.fromkeys(("Login", "ServerReflectionInfo", "Range"), "UNAVAILABLE"), name


def test_certificate_for_another_purpose_is_refused(production: Production, strangers: Callable[..., Any]) -> None:
    """MySQL looks at the CA and the password alone; the others look at names, and take the right one."""
    answers = strangers(
        {"mysql": production.identity("mysql"), "gateway": production.identity("gateway-svc")}, "not the password"
    )
    assert answers["mysql"]["Login"] == answers["mysql"]["ServerReflectionInfo"] == "PERMISSION_DENIED"
    assert answers["mysql"]["Range"] == "UNAVAILABLE"
    assert answers["gateway"]["mysql"].endswith("1045")
    assert answers["gateway"]["Login"] == answers["gateway"]["ServerReflectionInfo"] == "OK"
    assert answers["gateway"]["Range"] == "PERMISSION_DENIED", "etcd listens, and wants a user"
    assert strangers({"user-svc": production.identity("user-svc")})["user-svc"]["mysql"] == "OK"


def test_gateway_of_another_release_needs_the_same_ca(production: Production) -> None:
    registry = {
        "address": "https://vp-etcd:2379",
        "auth": {"enabled": True, "existingSecret": "vp-etcd"},
    }
    gate = Release(production.namespace, "gate", "gateway-svc")
    values = {**SMALL["gateway-svc"], "etcd": {"enabled": False}}
    with pytest.raises(HelmError, match=r"another release has made the CA .* set global\.tls\.caSecret=vp-mtls-ca"):
        gate.render({**values, "global": {"registry": registry, "tls": {"enabled": True}}})
    tls = {"enabled": True, "caSecret": "vp-mtls-ca"}
    gate.install({**values, "global": {"registry": registry, "tls": tls}})
    try:
        assert "ok  the user logs in: 200" in gate.test()
    finally:
        gate.uninstall()


def test_renewed_certificates_are_used_without_a_lost_request(production: Production, figures: Record) -> None:
    """In the way of docs/tls-charts.md."""
    namespace = production.namespace
    before = {name: namespace.secret(f"vp-{name}-mtls") for name in CHARTS_WITH_TLS}
    containers = started(production)
    with production.traffic(**STEADY) as traffic:
        for name in CHARTS_WITH_TLS:
            namespace.delete("Secret", f"vp-{name}-mtls")
        production.release.upgrade({}, *ARGUMENTS)
        for name in CHARTS_WITH_TLS:
            made = namespace.secret(f"vp-{name}-mtls")
            assert made["ca.crt"] == before[name]["ca.crt"]
            assert made["tls.crt"] != before[name]["tls.crt"]
            for pod in production.namespace.live(name):
                look_at(production, pod)
        for name in CHARTS_WITH_TLS:
            for pod in namespace.live(name):
                wait_until(partial(has_taken, production, name, pod), 60, what=f"{name}'s renewal")
        traffic.wait_for(60)
    figures("certificates renewed", traffic.summary)
    assert traffic.lost() == []
    assert started(production) == containers


def started(platform: Platform) -> dict[str, int]:
    """Return how often the containers of each of the release's pods have been restarted."""
    pods = [pod["metadata"]["name"] for name in CHARTS_WITH_TLS for pod in platform.namespace.live(name)]
    restarts = platform.namespace.restarts()
    return {name: restarts[name] for name in pods}


def look_at(platform: Platform, pod: Manifest) -> None:
    """Have the kubelet look at a pod, whose Secrets it would otherwise renew within two minutes."""
    platform.namespace.patch(
        "Pod", pod["metadata"]["name"], {"metadata": {"annotations": {"video-platform/look": "1"}}}
    )


def has_taken(platform: Platform, name: str, pod: Manifest) -> bool:
    """Whether a program says that it uses the renewed certificate."""
    own = pod["metadata"]["name"]
    if name == "mysql":
        log = platform.namespace.cluster.log(own, platform.namespace.name, container="tls")
        return log.count("the server uses the certificate") == 2
    if name == "etcd":
        return True  # it reads the files at each handshake
    series = 'file_reloads_total{file="/run/secrets/mtls/tls.crt",result="taken"} '
    return f"{series}{CONNECTIONS[name]}.0" in platform.metrics(own)


def test_backup_is_made(production: Production) -> None:
    """Over TLS, as the user who needs a certificate."""
    start_backup(production, "once")
    wait_until(lambda: ended(production, "once"), 180, what="the end of a backup")
    assert ended(production, "once") == "Complete"
