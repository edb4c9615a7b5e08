"""The settings that both services have."""

from pathlib import Path

import pytest

from service_kit.settings import EtcdSettings, InvalidSettingsError, hosts_and_ports, load


@pytest.fixture(autouse=True)
def _no_dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("127.0.0.1:2379", ("127.0.0.1:2379",)),
        ("etcd:2379", ("etcd:2379",)),
        (
            "etcd-0.etcd:2379, etcd-1.etcd:2379 ,etcd_2:1",
            ("etcd-0.etcd:2379", "etcd-1.etcd:2379", "etcd_2:1"),
        ),
        ("[::1]:2379,[fe80::1%eth0]:65535", ("[::1]:2379", "[fe80::1%eth0]:65535")),
        ("http://etcd:2379/", ("etcd:2379",)),
    ],
)
def test_addresses(value: str, parts: tuple[str, ...]) -> None:
    assert hosts_and_ports(value) == parts


@pytest.mark.parametrize(
    "value",
    [
        "",
        "etcd",
        ":2379",
        "etcd:",
        "etcd:0",
        "etcd:65536",
        "etcd:two",
        "etcd:٢",
        "::1:2379",
        "a:1,",
        "ftp://a:1",
        "a b:1",
    ],
)
def test_malformed_addresses(value: str) -> None:
    with pytest.raises(ValueError, match="must be host:port"):
        hosts_and_ports(value)


def test_no_address_is_no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ETCD_ADDRESS", raising=False)
    assert EtcdSettings().etcd_endpoints == ()
    monkeypatch.setenv("ETCD_ADDRESS", "a:1,b:2")
    assert EtcdSettings().etcd_endpoints == ("a:1", "b:2")


@pytest.mark.parametrize("prefix", ["/kitex", "kitex/", "a//b", "a b", "a\n"])
def test_a_prefix_is_a_clean_path(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    monkeypatch.setenv("REGISTRY_PREFIX", prefix)
    with pytest.raises(ValueError, match="registry_prefix"):
        EtcdSettings()


@pytest.mark.parametrize("name", ["ETCD_USERNAME", "ETCD_PASSWORD"])
def test_a_user_name_and_its_password_go_together(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "canary")
    with pytest.raises(InvalidSettingsError, match=r"^ETCD_PASSWORD:? .*ETCD_USERNAME") as refused:
        load(EtcdSettings)
    assert "canary" not in str(refused.value)
    monkeypatch.setenv("ETCD_USERNAME", "user")
    monkeypatch.setenv("ETCD_PASSWORD", "canary")
    assert load(EtcdSettings).etcd_username == "user"
