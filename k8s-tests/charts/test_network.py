"""The NetworkPolicies open the paths of the picture, and no other."""

import copy
from typing import Any

from manifests import Manifest, of_kind, render

ANYONE = ("anyone",)
DNS = {(ANYONE, "53/UDP"), (ANYONE, "53/TCP")}
PROMETHEUS = ("prometheus in any namespace",)

Path = tuple[tuple[str, ...], str]


def _peers(rule: Manifest, side: str) -> tuple[str, ...]:
    found: list[str] = []
    for peer in rule.get(side) or []:
        pod = peer.pop("podSelector")
        namespace = peer.pop("namespaceSelector", None)
        assert not peer
        assert namespace in (None, {})
        names = [pod["matchLabels"]["app.kubernetes.io/name"]] if "matchLabels" in pod else []
        for expression in pod.get("matchExpressions", []):
            assert expression["key"] == "app.kubernetes.io/name"
            names += expression["values"]
        found += [name if namespace is None else f"{name} in any namespace" for name in names]
    return tuple(found) or ANYONE


def _paths(policy: Manifest, direction: str, side: str) -> set[Path]:
    assert direction.title() in policy["spec"]["policyTypes"]
    return {
        (_peers(rule, side), f"{port['port']}/{port['protocol']}" if "protocol" in port else str(port["port"]))
        for rule in policy["spec"].get(direction, [])
        for port in rule["ports"]
    }


def _policies(chart: str, values: dict[str, Any] | None = None) -> dict[str, tuple[set[Path], set[Path]]]:
    manifests = copy.deepcopy(render(chart, values))
    found = {}
    for policy in (m for m in manifests if m["kind"] == "NetworkPolicy"):
        name = policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
        found[name] = (_paths(policy, "ingress", "from"), _paths(policy, "egress", "to"))
    return found


def test_the_paths_of_the_picture_and_no_other() -> None:
    assert _policies("video-platform") == {
        "gateway-svc": (
            {(ANYONE, "8080"), (PROMETHEUS, "9090")},
            DNS | {(("etcd",), "2379"), (("user-svc",), "8888")},
        ),
        "user-svc": (
            {(("gateway-svc",), "8888"), (PROMETHEUS, "9090")},
            DNS | {(("etcd",), "2379"), (("mysql",), "3306")},
        ),
        "etcd": (
            {(("user-svc", "gateway-svc"), "2379"), (("etcd",), "2380"), (PROMETHEUS, "2381")},
            DNS | {(("etcd",), "2380")},
        ),
        "mysql": ({(("user-svc",), "3306")}, set()),
        "gateway-svc-test": (set(), DNS | {(("gateway-svc",), "8080")}),
    }


def test_a_backup_reaches_mysql_and_nothing_else() -> None:
    policies = _policies("mysql", {"backup": {"enabled": True}})
    assert policies == {
        "mysql": ({(("user-svc", "mysql-backup"), "3306")}, set()),
        "mysql-backup": (set(), DNS | {(("mysql",), "3306")}),
    }


def test_peers_elsewhere_are_reached_by_port() -> None:
    values = {
        "etcd": {"enabled": False},
        "mysql": {"enabled": False},
        "global": {
            "registry": {"address": "a.example.com:2379,[2001:db8::1]:2380,b.example.com:2379"},
            "database": {"host": "db.example.com", "port": 3307},
        },
    }
    policies = _policies("video-platform", values)
    assert policies["user-svc"][1] == DNS | {(ANYONE, "2379"), (ANYONE, "2380"), (ANYONE, "3307")}
    assert policies["gateway-svc"][1] == DNS | {(ANYONE, "2379"), (ANYONE, "2380"), (("user-svc",), "8888")}


def test_policies_select_the_pods() -> None:
    manifests = render("video-platform")
    for name in ("vp-gateway-svc", "vp-user-svc", "vp-etcd", "vp-mysql"):
        workload = next(m for m in manifests if "template" in m.get("spec", {}) and m["metadata"]["name"] == name)
        policy = of_kind(manifests, "NetworkPolicy", name)
        assert policy["spec"]["podSelector"] == workload["spec"]["selector"]


def test_policies_can_be_left_out() -> None:
    off = {"networkPolicy": {"enabled": False}}
    values = dict.fromkeys(("etcd", "mysql", "user-svc", "gateway-svc"), off)
    assert _policies("video-platform", values) == {}
