"""Wrong values are refused before anything reaches a cluster, with an error message that says what to do."""

from typing import Any

import pytest
from manifests import ARGO_CD, RefusedError, render

REFUSED = {
    "an unknown key": ("user-svc", {"replicas": 2}, "additional properties 'replicas' not allowed"),
    "a number in words": ("gateway-svc", {"replicaCount": "two"}, "at '/replicaCount': got string, want"),
    "two members": ("etcd", {"replicaCount": 2}, "at '/replicaCount': value must be one of 1, 3"),
    "a weak hash": ("user-svc", {"bcryptCost": 9}, "at '/bcryptCost': minimum: got 9, want 10"),
    "a short JWT key": (
        "gateway-svc",
        {"jwt": {"existingSecret": "", "secret": "8 bytes!"}},
        "jwt.secret has 8 bytes: HS256 needs at least 32",
    ),
    "a JWT key of 31 bytes in fewer characters": (
        "gateway-svc",
        {"jwt": {"existingSecret": "", "secret": "é" * 15 + "x"}},
        "jwt.secret has 31 bytes",
    ),
    "a JWT key and a Secret": (
        "gateway-svc",
        {"jwt": {"secret": "k" * 32}},
        "jwt.existingSecret and jwt.secret or jwt.previousSecrets are both set",
    ),
    "former JWT keys and a Secret": (
        "gateway-svc",
        {"jwt": {"previousSecrets": ["old"]}},
        "jwt.existingSecret and jwt.secret or jwt.previousSecrets are both set",
    ),
    "a password and a Secret": (
        "mysql",
        {"auth": {"password": "given"}},
        "global.database.existingSecret and auth.password or auth.rootPassword are both set",
    ),
    "root as the user": ("mysql", {"global": {"database": {"username": "root"}}}, "global.database.username is root"),
    "no time to drain": (
        "user-svc",
        {"terminationGracePeriodSeconds": 26},
        "terminationGracePeriodSeconds is 26, and a pod needs 27 to drain: drainDelaySeconds 2 + graceSeconds 20 + 5",
    ),
    "no time to drain, in the umbrella": (
        "video-platform",
        {"gateway-svc": {"terminationGracePeriodSeconds": 30, "graceSeconds": 60}},
        "terminationGracePeriodSeconds is 30, and a pod needs 70 to drain",
    ),
    "no etcd": ("video-platform", {"etcd": {"enabled": False}}, "say in global.registry.address where etcd is"),
    "no MySQL": ("user-svc", {"mysql": {"enabled": False}}, "say in global.database.host where MySQL is"),
    "two etcds": (
        "gateway-svc",
        {"global": {"registry": {"address": "etcd.example.com:2379"}}},
        "etcd.enabled is true and global.registry.address names another etcd",
    ),
    "two MySQLs": (
        "video-platform",
        {"global": {"database": {"host": "db.example.com"}}},
        "mysql.enabled is true and global.database.host names another server",
    ),
    "an etcd of a service in the umbrella": (
        "video-platform",
        {"user-svc": {"etcd": {"enabled": True}}},
        "at '/user-svc/etcd/enabled': value must be false",
    ),
    "another's MySQL without its password": (
        "user-svc",
        {"mysql": {"enabled": False}, "global": {"database": {"host": "db.example.com", "existingSecret": ""}}},
        "name the Secret with the password of that server's user in global.database.existingSecret",
    ),
    "another's etcd without its passwords": (
        "gateway-svc",
        {
            "etcd": {"enabled": False},
            "global": {"registry": {"address": "e:2379", "auth": {"enabled": True, "existingSecret": ""}}},
        },
        "name the Secret with its passwords in global.registry.auth.existingSecret",
    ),
    "a gateway's own etcd with passwords and no image for its sidecar": (
        "gateway-svc",
        {"image": {"repository": "r.example.com/gateway-svc"}, "global": {"registry": {"auth": {"enabled": True}}}},
        "name the user service's image, which etcd's sidecar runs, in etcd.auth.image.repository",
    ),
    "one user of etcd for all": (
        "etcd",
        {"global": {"registry": {"auth": {"resolver": "registrar"}}}},
        "must be two names, and neither root",
    ),
    "an address without a port": (
        "user-svc",
        {"etcd": {"enabled": False}, "global": {"registry": {"address": "etcd.example.com"}}},
        "at '/global/registry/address': 'etcd.example.com' does not match pattern",
    ),
    "more pods at least than at most": (
        "user-svc",
        {"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 4}},
        "autoscaling.minReplicas is 5, more than autoscaling.maxReplicas, 4",
    ),
    "both monitors": (
        "user-svc",
        {"metrics": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}},
        "metrics.podMonitor.enabled and metrics.serviceMonitor.enabled are both true",
    ),
    "a label that selects the pods": (
        "gateway-svc",
        {"podLabels": {"app.kubernetes.io/name": "mine"}},
        "podLabels: app.kubernetes.io/name is what selects the pods",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused(case: str) -> None:
    chart, values, sentence = REFUSED[case]
    with pytest.raises(RefusedError) as refusal:
        render(chart, values)
    assert all(sentence in said for said in refusal.value.args)


AUTH = {"global": {"registry": {"auth": {"enabled": True}}}}
MADE = {
    "mysql": "global.database.existingSecret",
    "gateway-svc": "jwt.existingSecret",
    "video-platform": "global.database.existingSecret",
    "etcd": "global.registry.auth.existingSecret",
}
GIVEN = {
    "mysql": {"auth": {"password": "a given one", "rootPassword": "another"}},
    "gateway-svc": {"jwt": {"secret": "k" * 32}},
    "etcd": {},
    "video-platform": {"mysql": {"auth": {"password": "a given one", "rootPassword": "another"}}},
}


@pytest.mark.parametrize("values", [{}, GIVEN], ids=["generated", "given"])
@pytest.mark.parametrize("arguments", [(), ARGO_CD, ("--is-upgrade",)], ids=["plain", "Argo CD", "upgrade"])
@pytest.mark.parametrize("chart", MADE)
def test_no_secret_is_made_without_a_cluster(chart: str, arguments: tuple[str, ...], values: dict[str, Any]) -> None:
    with pytest.raises(RefusedError) as refusal:
        render(chart, AUTH if chart == "etcd" else values.get(chart, {}), *arguments, ci=False)
    for said in refusal.value.args:
        assert "no cluster to look for the Secret vp-" in said
        assert f"Name a Secret in {MADE[chart]}" in said


def test_an_old_cluster_is_refused() -> None:
    with pytest.raises(RefusedError) as refusal:
        render("video-platform", {}, "--kube-version", "1.28.0")
    assert all("chart requires kubeVersion: >=1.29.0-0" in said for said in refusal.value.args)
