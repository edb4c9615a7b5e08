"""An etcd with authentication, in all the ways in which that can be wrong."""

import logging
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from service_kit.registry import EtcdConfig, Instance, Registrar, Resolver
from service_kit.registry.etcd import Client
from tests.service_kit.registry.harness import RECOVERY, RegistrarHarness
from tests.support.etcd import Etcd
from tests.support.etcd_proxy import EtcdProxy
from tests.support.wait import wait_until

ROOT = "canary-root"
USER = ("services", "canary-password")
USERS = {USER[0]: (USER[1], "readwrite", "kitex/")}


@pytest.fixture
def quick_etcd() -> Iterator[Etcd]:
    """An etcd whose tokens live for 1 s unless they are used."""
    with Etcd("--auth-token-ttl=1", "--bcrypt-cost=4") as running:
        yield running


@pytest.fixture(autouse=True)
def no_secret_in_the_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    assert "canary" not in caplog.text


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_auth_is_enabled_with_expiring_tokens(quick_etcd: Etcd, caplog: pytest.LogCaptureFixture) -> None:
    with (
        EtcdProxy(quick_etcd.endpoint) as proxy,
        # A look at the key each 2 s, so that each finds the token expired.
        RegistrarHarness(quick_etcd, endpoints=(proxy.endpoint,), credentials=USER, ttl=6, relist=2) as harness,
    ):
        assert [line for line in warnings(caplog) if "etcd's authentication is off" in line] == warnings(caplog)
        assert len(warnings(caplog)) == 2, "the registrar and the resolver go on without"
        assert REGISTRY.get_sample_value("registry_auth_off") == 1
        caplog.clear()
        quick_etcd.enable_auth(ROOT, USERS)
        tokens = proxy.calls["Authenticate"]
        wait_until(lambda: proxy.calls["Authenticate"] >= tokens + 4, 20, what="new tokens for old ones")
        quick_etcd.authenticate(ROOT)
        assert harness.held == [True]
        assert harness.reasons == ["start"]
        quick_etcd.delete(harness.key)
        harness.back()
        assert warnings(caplog) == [], "an expired token is routine"
        assert caplog.text.count("etcd's authentication is on") == 2
        assert REGISTRY.get_sample_value("registry_auth_off") == 0
        quick_etcd.authenticate(ROOT)
        quick_etcd.ctl(f"--user=root:{ROOT}", "auth", "disable")
        quick_etcd.token = ""


def test_tokens_that_are_always_refused_are_told(
    quick_etcd: Etcd, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def authenticate(client: Client, *_: str) -> None:
        client._metadata = (*client._metadata, ("token", "unknown"))

    monkeypatch.setattr(Client, "_authenticate", authenticate)
    quick_etcd.enable_auth(ROOT, USERS)
    registrar = Registrar(EtcdConfig((quick_etcd.endpoint,), *USER), "user", Instance("10.0.0.1:8888"))
    registrar.start()
    (warning,) = wait_until(lambda: warnings(caplog))
    assert "etcd demands a new token" in warning
    registrar.stop()


def test_users_have_least_privileges(quick_etcd: Etcd) -> None:
    prefix = "kitex/registry-etcd/"
    users = {"writer": ("canary-w", "readwrite", prefix), "reader": ("canary-r", "read", prefix)}
    quick_etcd.enable_auth(ROOT, users)
    instance = Instance("10.0.0.1:8888")
    registrar = Registrar(EtcdConfig((quick_etcd.endpoint,), "writer", "canary-w"), "user", instance)
    resolver = Resolver(EtcdConfig((quick_etcd.endpoint,), "reader", "canary-r"), "user")
    registrar.start()
    resolver.start()
    wait_until(lambda: resolver.snapshot and resolver.snapshot.instances == (instance,))
    registrar.stop()
    resolver.stop()
    quick_etcd.authenticate(ROOT)
    assert quick_etcd.keys() == {}
    assert quick_etcd.leases() == set()


@pytest.mark.parametrize(
    "credentials, sentence, remedy",
    [
        (
            ("services", "canary-wrong"),
            "ETCD_USERNAME with its ETCD_PASSWORD",
            ["user delete services", "user add services:canary-wrong", "user grant-role services services"],
        ),
        (
            ("stranger", "canary-wrong"),
            "ETCD_USERNAME with its ETCD_PASSWORD",
            ["user add stranger:canary-wrong", "user grant-role stranger services"],
        ),
        (("powerless", "canary-wrong"), "denies ETCD_USERNAME", ["user grant-role powerless services"]),
        (None, "ETCD_USERNAME and ETCD_PASSWORD are not set", ["auth disable"]),
    ],
    ids=["a wrong password", "an unknown user", "a user without the role", "no user"],
)
def test_credentials_that_are_refused_are_tried_again(
    quick_etcd: Etcd,
    caplog: pytest.LogCaptureFixture,
    credentials: tuple[str, str] | None,
    sentence: str,
    remedy: list[str],
) -> None:
    quick_etcd.enable_auth(ROOT, USERS | {"powerless": ("canary-wrong", "read", "elsewhere/")})
    name, password = credentials or (None, None)
    with EtcdProxy(quick_etcd.endpoint) as proxy:
        registrar = Registrar(EtcdConfig((proxy.endpoint,), name, password), "user", Instance("10.0.0.1:8888"))
        registrar.start()
        wait_until(lambda: proxy.calls["Authenticate" if credentials else "Range"] >= 5, 20, what="five attempts")
        (warning,) = warnings(caplog)
        assert sentence in warning
        assert not registrar.held
        for command in remedy:
            quick_etcd.ctl(f"--user=root:{ROOT}", *command.split())
        wait_until(lambda: registrar.held, RECOVERY)
        registrar.stop()
