"""A Prometheus in the cluster sees by the plain annotations all that the charts' rules and dashboards ask for."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from support.client_pod import Traffic
from support.cluster import wait_until
from support.namespace import CHARTS
from support.platform import VALUES, Platform
from support.prometheus import Prometheus

from tests.monitoring.promql import measurements
from tests.support.prometheus import Alert

SERVICES = ("user-svc", "gateway-svc")
MOST_SERIES = 350
OF_FILES = ("tls_certificate_expiry_seconds", "file_reloads_total")
"""What a gateway without certificates has none of; the tests without a cluster ask for it."""

RATES = {"login": 3.0, "register": 3.0, "profile": 1.0, "refresh": 0.09}
"""Requests a second; a refresh within ten seconds of another only repeats its answer."""
ROTATIONS = 'session_refreshes_total{result="rotated"}'
FAILED_EACH = 30
"""Of logins and of registrations: far more than the ten that raise an alert, and each gateway counts for itself."""

LASTING: set[Alert] = {
    (name, severity)
    for name in ("LoginErrorBudgetBurn", "RequestErrorBudgetBurn")
    for severity in ("critical", "warning")
}
PASSING: set[Alert] = {
    ("DatabaseUnavailable", "critical"),
    ("GatewayFindsNoUserService", "critical"),
    ("GatewayFindsNoUserService", "warning"),
}
LATER: set[Alert] = {("RevocationsStale", "warning")}
"""Raised as well when the database has been unavailable for half a minute."""


@dataclass
class Watched:
    """What Prometheus has seen of the platform, from its beginning on."""

    platform: Platform
    by: Prometheus
    rules: dict[str, dict[str, Any]]
    began: float


def raised(watch: Prometheus) -> set[Alert]:
    """Return the alerts that are firing or pending, but for those on latency: they are tested without a cluster."""
    return {alert for alert in watch.raised if "Latency" not in alert[0]}


@pytest.fixture(scope="module")
def watched(installed: Platform) -> Iterator[Watched]:
    installed.restore()
    rules = _rules(installed)
    watch = Prometheus(installed.namespace, rules)
    seen = Watched(installed, watch, rules, time.time())
    try:
        pods = sum(installed.replicas[name] for name in (*SERVICES, "etcd"))
        wait_until(lambda: len(watch.query("up == 1")) == pods, 60, what=f"{pods} pods to be scraped")
        wait_until(lambda: not raised(watch), 60, what="all to be well")
        with installed.traffic(**RATES) as traffic:
            traffic.wait_for(60)
            # Refreshes are rare: a pod that is deleted could take the only one with it, and their rate would be 0 / 0.
            wait_until(lambda: watch.query(f"increase({ROTATIONS}[1m]) > 0"), 60, what="a refresh to be counted")
            _some_things_go_wrong(seen, traffic)
        yield seen
    finally:
        watch.close()


def _rules(platform: Platform) -> dict[str, dict[str, Any]]:
    """The rules of each service, as its chart makes them for this release."""
    on = {"metrics": {"prometheusRule": {"enabled": True, "interval": ""}}}
    values = {name: {**VALUES.get(name, {}), **on} for name in SERVICES}
    chart = CHARTS / "video-platform"
    command = ["template", platform.release.name, str(chart), "--values", str(chart / "ci" / "values.yaml")]
    text = platform.release.helm(*command, "--values", "-", given=json.dumps(values))
    made = [m for m in yaml.safe_load_all(text) if m and m["kind"] == "PrometheusRule"]
    assert len(made) == len(SERVICES)
    return {rule["metadata"]["name"]: rule["spec"] for rule in made}


def _some_things_go_wrong(watched: Watched, traffic: Traffic) -> None:
    platform, watch = watched.platform, watched.by
    namespace = platform.namespace

    address, before = next(iter(platform.keys().items()))
    platform.etcdctl("lease", "revoke", before["lease"])
    wait_until(lambda: platform.keys().get(address, before) != before, 30, what="another lease")

    namespace.delete("Pod", namespace.live("user-svc")[0]["metadata"]["name"])
    platform.wait_until_whole()

    forged = {
        "method": "GET",
        "url": f"{platform.gateway}/api/profile",
        "headers": {"Authorization": "Bearer e30.e30.e30"},
    }
    scanned = [{"method": "PUT", "url": f"{platform.gateway}/path/{n}"} for n in range(60)]
    answers = platform.client_pod.ask(*[forged] * 3, *scanned)
    assert {answer["status"] for answer in answers} == {401, 404}

    def only_live_pods_are_targets() -> bool:
        live = {pod["metadata"]["name"] for name in (*SERVICES, "etcd") for pod in namespace.live(name)}
        return {target["labels"]["pod"] for target in watch.targets} == live

    wait_until(only_live_pods_are_targets, 60, what="no targets but the live pods")
    wait_until(lambda: not raised(watch), 60, what="nothing to be wrong")

    namespace.scale("StatefulSet", "vp-mysql", 0)
    try:
        # a scrape that was late has TargetDown pending for a moment
        wait_until(lambda: raised(watch) - LATER == LASTING | PASSING, 90, what=f"{LASTING | PASSING} to be raised")
        for operation in ("login", "register"):
            wait_until(lambda o=operation: len(traffic.lost(o)) >= FAILED_EACH, 60, what="requests to fail")  # type: ignore[misc]
    finally:
        platform.restore()


def test_each_pod_is_scraped_once_with_rule_labels(watched: Watched) -> None:
    platform, targets = watched.platform, watched.by.targets
    found = {target["labels"]["pod"]: target["labels"] for target in targets}
    assert len(found) == len(targets)
    assert found == {
        pod["metadata"]["name"]: {
            "job": name,
            "namespace": platform.namespace.name,
            "release": platform.release.name,
            "pod": pod["metadata"]["name"],
            "instance": f"{pod['status']['podIP']}:{2381 if name == 'etcd' else 9090}",
        }
        for name in (*SERVICES, "etcd")
        for pod in platform.namespace.live(name)
    }
    # a scrape that was late is no fault
    wait_until(lambda: {target["health"] for target in watched.by.targets} == {"up"}, 60, what="every target to be up")


def test_every_query_has_a_result(watched: Watched) -> None:
    end = time.time()
    queries = [
        query for query in measurements(*watched.rules.values()) if not any(name in query.expr for name in OF_FILES)
    ]
    assert len(queries) > 100
    unanswered = [query for query in queries if not watched.by.history(query.expr, watched.began, end, step=2)]
    assert not unanswered


def test_refusal_reasons_are_kept_for_clients(watched: Watched) -> None:
    """While it lasted, nothing else was; the budget stays burnt."""
    wait_until(lambda: raised(watched.by) == LASTING, 60, what=f"only {LASTING} to be raised")


def test_a_pod_has_few_series_whatever_clients_sent(watched: Watched) -> None:
    jobs = "|".join(SERVICES)
    found = watched.by.query(f'scrape_samples_post_metric_relabeling{{job=~"{jobs}"}}')
    series = {each["metric"]["pod"]: int(each["value"][1]) for each in found}
    assert len(series) == sum(watched.platform.replicas[name] for name in SERVICES)
    assert max(series.values()) <= MOST_SERIES, series


def test_prometheus_itself_keeps_to_the_restricted_standard(watched: Watched) -> None:
    namespace = watched.platform.namespace
    namespace.wait_for_pod("prometheus", 30, what="Prometheus to be ready after the queries")
    pod = namespace.get("Pod", "prometheus")
    assert pod
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
