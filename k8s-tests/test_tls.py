"""TLS between the parts of a release: turned on while it lives, and with certificates that the charts do not make."""

import base64
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from conftest import Record
from support.client_pod import Traffic
from support.cluster import wait_until
from support.namespace import CHARTS, Namespace
from support.platform import SMALL, Platform

from tests.support.certificates import Authority

PAGE = (CHARTS.parent / "docs" / "tls-charts.md").read_text()
ON: dict[str, Any] = {"tls": {"enabled": True}}
STEADY = {"register": 1.0, "login": 2.0, "profile": 10.0}
"""Requests a second."""


def section(heading: str) -> str:
    """Return what the page has below a heading."""
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def script(heading: str, number: int = 0) -> str:
    """Return one of the blocks of commands below a heading."""
    found: list[str] = re.findall(r"```sh\n(.*?)```", section(heading), re.DOTALL)
    return found[number]


@pytest.fixture
def platform(new_namespace: Callable[..., Namespace]) -> Iterator[Platform]:
    """A small platform that is not installed yet."""
    platform = Platform(new_namespace(), SMALL)
    yield platform
    platform.namespace.close()


def outage(traffic: Traffic) -> float:
    """Return the seconds from the start of the first request that was lost to the end of the last one."""
    lost = traffic.lost()
    return max(r["at"] for r in lost) - min(r["at"] - r["took"] for r in lost) if lost else 0.0


def names(service: str, namespace: str) -> list[str]:
    """Return the DNS names by which a Service can be called."""
    return [service, f"{service}.{namespace}", f"{service}.{namespace}.svc"]


def own_certificates(namespace: Namespace) -> dict[str, Any]:
    """Make a Secret of our own for each chart, as the page says, and return the values that name them."""
    etcd = names("vp-etcd", namespace.name) + names("*.vp-etcd-peers", namespace.name)
    wanted = {
        "gateway-svc": ["gateway-svc", "etcd-client"],
        "user-svc": ["user-svc", "etcd-client"],
        "etcd": [*etcd, "localhost", "etcd-client"],
        "mysql": [*names("vp-mysql", namespace.name), "localhost"],
    }
    authority = Authority()
    for chart, dns_names in wanted.items():
        data = {key: base64.b64encode(pem).decode() for key, pem in authority.issue(*dns_names).items()}
        namespace.create(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"own-{chart}"}, "type": "kubernetes.io/tls"}
            | {"data": data}
        )
    return {chart: {**SMALL[chart], "tls": {"existingSecret": f"own-{chart}"}} for chart in wanted}


def test_tls_is_toggled_with_own_certificates(platform: Platform, figures: Record) -> None:
    platform.install()
    user = platform.register()
    values = {**own_certificates(platform.namespace), "global": ON}
    with platform.traffic(**STEADY) as traffic:
        platform.release.upgrade(values)
        platform.wait_until_whole()
        traffic.wait_for(30)
    figures("TLS turned on in a live release: seconds in which requests were lost", outage(traffic))
    assert traffic.lost("profile") == []
    assert not traffic.results[-1].get("error")
    platform.login(user)
    assert "https://" in platform.etcdctl("member", "list")
    assert "ok  the user logs in: 200" in platform.release.test()
    assert not [s for s in platform.namespace.list_all("Secret") if s["metadata"]["name"].endswith("-mtls")]

    platform.release.rollback(1)
    platform.wait_until_whole()
    platform.login(user)
    assert "http://" in platform.etcdctl("member", "list")


@pytest.mark.faults
def test_new_ca_takes_over_without_a_lost_request(platform: Platform, figures: Record) -> None:
    platform.values = {**SMALL, "global": ON}
    platform.install()
    with platform.traffic(**STEADY) as traffic:
        platform.namespace.shell(script("A new CA"), 600)
        platform.wait_until_whole()
        traffic.wait_for(30)
    figures("a new CA", traffic.summary)
    assert traffic.lost() == []
    trusted = {platform.secret_values(f"vp-{name}-mtls")["ca.crt"] for name in SMALL}
    (authority,) = trusted
    assert authority == platform.secret_values("vp-mtls-ca")["tls.crt"]
    assert authority.count("BEGIN") == 1


@pytest.mark.faults
def test_three_members_start_over_with_tls(platform: Platform, figures: Record) -> None:
    platform.values = {**SMALL, "etcd": {**SMALL["etcd"], "replicaCount": 3}}
    platform.replicas |= {"etcd": 3}
    platform.install()
    user = platform.register()
    with platform.traffic(**STEADY) as traffic:
        platform.namespace.shell(script("Turn it on in a live release", 1))
        platform.wait_until_whole()
        traffic.wait_for(30)
    figures("TLS turned on with three members: seconds in which requests were lost", outage(traffic))
    platform.login(user)
    assert platform.etcdctl("member", "list").count("started") == 3


@pytest.mark.faults
def test_cert_manager_renewal_loses_no_request(platform: Platform, figures: Record) -> None:
    """With certificates that are renewed every half a minute."""
    namespace = platform.namespace
    if not namespace.cluster.get("CustomResourceDefinition", "certificates.cert-manager.io"):
        pytest.skip("cert-manager is not on this cluster")
    (issuers,) = re.findall(r"```yaml\n(.*?)```", section("Where certificates come from"), re.DOTALL)
    for manifest in yaml.safe_load_all(issuers):
        namespace.create(manifest)
    manager = {"issuerRef": {"name": "platform"}, "duration": "1h", "renewBefore": "59m30s"}
    platform.values = {**SMALL, "global": {"tls": {"enabled": True, "certManager": manager}}}
    platform.install()
    before = {name: namespace.secret(f"vp-{name}-mtls")["tls.crt"] for name in SMALL}
    restarts = namespace.restarts()

    def renewed() -> bool:
        return all(namespace.secret(f"vp-{name}-mtls")["tls.crt"] != before[name] for name in SMALL)

    with platform.traffic(**STEADY) as traffic:
        wait_until(renewed, 120, what="a renewal of each certificate")
        # the kubelet takes up to two minutes, and the first ones must have ended by then
        traffic.wait_seconds(150)
    figures("certificates renewed by cert-manager twice a minute", traffic.summary)
    assert traffic.lost() == []
    assert namespace.restarts() == restarts
