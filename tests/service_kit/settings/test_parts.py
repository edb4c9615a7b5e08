"""The settings that both services have."""

from pathlib import Path

import pytest

from service_kit.settings import EtcdSettings, GrpcTlsSettings, InvalidSettingsError, hosts_and_ports, load


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


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ({"ETCD_ADDRESS": "https://a:1"}, "ETCD_CA_FILE: must be set when ETCD_ADDRESS begins with https://"),
        (
            {"ETCD_ADDRESS": "https://a:1,b:1", "ETCD_CA_FILE": "ca"},
            "ETCD_ADDRESS: must begin with https:// for all members or for none",
        ),
        (
            {"ETCD_ADDRESS": "a:1", "ETCD_CA_FILE": "ca"},
            "ETCD_CA_FILE: is set, but ETCD_ADDRESS does not begin with https://",
        ),
        (
            {"ETCD_ADDRESS": "https://a:1", "ETCD_CA_FILE": "ca", "ETCD_CERT_FILE": "cert"},
            "ETCD_KEY_FILE: must be set when ETCD_CERT_FILE is",
        ),
    ],
)
def test_settings_of_tls_to_etcd_agree(monkeypatch: pytest.MonkeyPatch, env: dict[str, str], problem: str) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettingsError) as refused:
        load(EtcdSettings)
    assert problem in refused.value.problems


def test_grpc_wants_all_three_files_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(GrpcTlsSettings).tls_files("GRPC_TLS") is None
    monkeypatch.setenv("GRPC_TLS_KEY_FILE", "key")
    with pytest.raises(InvalidSettingsError, match=r"GRPC_TLS_KEY_FILE: is set, but GRPC_TLS_CERT_FILE is not"):
        load(GrpcTlsSettings)
    monkeypatch.setenv("GRPC_TLS_CERT_FILE", "cert")
    with pytest.raises(InvalidSettingsError, match=r"GRPC_TLS_CA_FILE: must be set when GRPC_TLS_CERT_FILE is"):
        load(GrpcTlsSettings)


@pytest.mark.parametrize("name", ["ETCD_USERNAME", "ETCD_PASSWORD"])
def test_a_user_name_and_its_password_go_together(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "canary")
    with pytest.raises(InvalidSettingsError, match=r"^ETCD_PASSWORD:? .*ETCD_USERNAME") as refused:
        load(EtcdSettings)
    assert "canary" not in str(refused.value)
    monkeypatch.setenv("ETCD_USERNAME", "user")
    monkeypatch.setenv("ETCD_PASSWORD", "canary")
    assert load(EtcdSettings).etcd_username == "user"
