"""How many connections the chart's MySQL takes."""

from typing import Any

import pytest
from manifests import nested, of_kind, render


def _taken(chart: str, values: dict[str, Any] | None = None) -> str | None:
    return of_kind(render(chart, values), "ConfigMap", "vp-mysql")["data"].get("max-connections")


POOL = {"databasePool": {"size": 5, "maxOverflow": 15}}


@pytest.mark.parametrize(
    ("values", "connections"),
    [
        ({}, 3 * 101 + 20),
        ({"replicaCount": 5}, 6 * 101 + 20),
        ({**POOL, "replicaCount": 9}, 10 * 21 + 20),
        ({**POOL, "replicaCount": 9, "autoscaling": {"enabled": True, "maxReplicas": 19}}, 20 * 21 + 20),
        (POOL, 151),
    ],
    ids=["defaults", "pods", "pool", "autoscaling", "no fewer than MySQL's default"],
)
def test_every_pod_s_pool_fits(values: dict[str, Any], connections: int) -> None:
    assert _taken("video-platform", {"user-svc": values}) == str(connections)
    assert _taken("user-svc", values) == str(connections)


@pytest.mark.parametrize(
    ("memory", "connections"),
    [("1Gi", 682), ("1024Mi", 682), (2**30, 682), ("1073741824", 682), ("1.5Gi", 1131), ("2G", 1131), ("512Mi", 151)],
)
def test_server_connections_match_its_memory(memory: str | int, connections: int) -> None:
    values = {"user-svc": {"autoscaling": {"enabled": True}}, "mysql": {"resources": {"limits": {"memory": memory}}}}
    assert _taken("video-platform", values) == str(connections)


def test_memory_without_a_limit_sets_none() -> None:
    values = {"user-svc": {"autoscaling": {"enabled": True}}, "mysql": {"resources": {"limits": None}}}
    assert _taken("video-platform", values) == str(11 * 101 + 20)


@pytest.mark.parametrize(
    ("path", "value"),
    [("mysql.configuration", "[mysqld]\nmax_connections = 50"), ("mysql.extraArgs", ["--max-connections=50"])],
)
def test_operator_s_own_number_counts(path: str, value: Any) -> None:
    assert _taken("video-platform", nested(path, value)) is None


def test_mysql_alone_keeps_its_default() -> None:
    assert _taken("mysql") is None
    assert _taken("video-platform", {"user-svc": {"enabled": False}, "gateway-svc": {"enabled": False}}) is None


def test_more_pods_restart_no_server() -> None:
    before, after = (
        of_kind(render("video-platform", nested("user-svc.replicaCount", count)), "StatefulSet", "vp-mysql")
        for count in (2, 7)
    )
    assert before == after
