"""Wrong values are refused before anything reaches a cluster, with a sentence that says what to do."""

from typing import Any

import pytest
from manifests import NAMES, ON_A_CLUSTER, RefusedError, merged, nested, of_kind, render

REFUSED = {
    "an unknown key": ("user-svc", {"replicas": 2}, "additional properties 'replicas' not allowed"),
    "a number in words": ("gateway-svc", {"replicaCount": "two"}, "at '/replicaCount': got string, want integer"),
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
        "terminationGracePeriodSeconds is 30, and a pod needs 67 to drain",
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
    assert sentence in str(refusal.value)


MADE = {
    "mysql": "global.database.existingSecret",
    "gateway-svc": "jwt.existingSecret",
    "video-platform": "global.database.existingSecret",
}


@pytest.mark.parametrize("chart", MADE)
def test_no_password_is_made_up_without_a_cluster(chart: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        render(chart, ci=False)
    assert "no cluster to look for the Secret vp-" in str(refusal.value)
    assert f"Name a Secret in {MADE[chart]}" in str(refusal.value)


# Two changes, each of which makes Helm render anew.
ANEW = {
    "mysql": ("livenessProbe.failureThreshold", "livenessProbe.periodSeconds"),
    "gateway-svc": ("livenessProbe.failureThreshold", "livenessProbe.periodSeconds"),
    "video-platform": ("mysql.livenessProbe.failureThreshold", "mysql.livenessProbe.periodSeconds"),
}


@pytest.mark.parametrize("chart", MADE)
def test_passwords_are_made_up_on_a_cluster_and_kept(chart: str) -> None:
    first, second = (
        [m for m in render(chart, {}, *ON_A_CLUSTER, "--set", f"{values}=1", ci=False) if m["kind"] == "Secret"]
        for values in ANEW[chart]
    )
    assert first
    for secret, other in zip(first, second, strict=True):
        assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        for key, value in secret["data"].items():
            assert len(value) >= 54, "40 characters in base64"
            assert value != other["data"][key]


def test_a_key_given_as_a_value_rolls_the_pods_and_a_made_one_does_not() -> None:
    def annotations(values: dict[str, Any]) -> dict[str, str]:
        values = merged({"jwt": {"existingSecret": ""}}, values)
        deployment = of_kind(render("gateway-svc", values, *ON_A_CLUSTER), "Deployment")
        annotations: dict[str, str] = deployment["spec"]["template"]["metadata"]["annotations"]
        return {name: value for name, value in annotations.items() if name.startswith("checksum/")}

    assert annotations({}) == {}
    given = annotations(nested("jwt.secret", "a" * 32))
    assert given.keys() == {"checksum/jwt"}
    assert given != annotations(nested("jwt.secret", "b" * 32))


def test_an_old_cluster_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"Kubernetes is v1\.28\.0: 1\.29 is the first"):
        render("video-platform", {}, "--api-versions", "v1/Secret", "--kube-version", "1.28.0")


@pytest.mark.parametrize("chart", NAMES)
def test_long_release_names_fit(chart: str) -> None:
    for manifest in render(chart, release="a" * 53):
        limit = 52 if manifest["kind"] == "StatefulSet" else 63
        assert len(manifest["metadata"]["name"]) <= limit
