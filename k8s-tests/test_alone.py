"""The charts of the services alone: with stores of their own, with another release's, without a registry."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.cluster import Manifest, wait_until
from support.namespace import Namespace
from support.platform import SMALL
from support.release import Release

USERS = SMALL["user-svc"]
GATEWAY = SMALL["gateway-svc"]
STORES = {"etcd": SMALL["etcd"], "mysql": SMALL["mysql"]}
NO_ETCD = {"etcd": {"enabled": False}}


@pytest.fixture(scope="module")
def apart(new_namespace: Callable[..., Namespace]) -> Namespace:
    """Releases that were installed one by one and are to find each other, by etcd or without it."""
    namespace = new_namespace()
    # a user service with an etcd and a MySQL of its own, and a gateway that finds it in that etcd
    first = Release(namespace, "first", "user-svc"), {**USERS, **STORES}
    gateway = (
        Release(namespace, "by-etcd", "gateway-svc"),
        {**GATEWAY, **NO_ETCD, "global": {"registry": {"address": "first-etcd:2379"}}},
    )
    # a user service that registers nowhere, and a gateway that knows it by its name
    database = {"host": "first-mysql", "existingSecret": "first-mysql"}
    second = (
        Release(namespace, "second", "user-svc"),
        {**USERS, **NO_ETCD, "register": False, "mysql": {"enabled": False}, "global": {"database": database}},
    )
    by_name = (
        Release(namespace, "by-name", "gateway-svc"),
        {**GATEWAY, **NO_ETCD, "userService": {"target": "dns:///second-user-svc:8888"}},
    )
    # a gateway with an etcd of its own without registrations: it must not be ready
    lonely = Release(namespace, "lonely", "gateway-svc"), {**GATEWAY, "etcd": SMALL["etcd"]}
    lonely[0].install(lonely[1], "--wait=false")
    with ThreadPoolExecutor() as threads:
        for installed in [threads.submit(r.install, v) for r, v in (first, gateway, second, by_name)]:
            installed.result()
    return namespace


@pytest.mark.parametrize("gateway", ["by-etcd", "by-name"])
def test_gateway_finds_its_user_service(apart: Namespace, gateway: str) -> None:
    assert "ok  the user logs in: 200" in Release(apart, gateway).test()


def test_gateway_without_a_user_service_is_not_ready(apart: Namespace) -> None:
    apart.wait_for_pods("etcd", 1, release="lonely")

    def started() -> Manifest:
        (pod,) = apart.pods("gateway-svc", release="lonely")
        return pod if pod["status"].get("containerStatuses", [{}])[0].get("started") else {}

    pod = wait_until(started, 60, what="the gateway to have started")
    assert not pod["status"]["containerStatuses"][0]["ready"]
    answer = apart.execute(
        pod["metadata"]["name"],
        "python",
        "-c",
        "import http.client as h; c = h.HTTPConnection('127.0.0.1', 9090); c.request('GET', '/readyz');"
        "a = c.getresponse(); print(a.status, a.read().decode())",
    )
    assert answer.startswith("503 ")
