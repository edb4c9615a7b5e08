"""An etcd that shows a certificate and asks for one."""

from pathlib import Path

import pytest

from service_kit.files import Reader
from service_kit.registry import Instance, Registrar
from service_kit.settings import EtcdSettings, load
from tests.support.certificates import AUTHORITY, Authority, Mount
from tests.support.etcd import Etcd
from tests.support.wait import wait_until


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def mount(authority: Authority, tmp_path: Path) -> Mount:
    return Mount(tmp_path / "client", authority.issue("a client"))


def registrar(reader: Reader, address: str, files: dict[str, str]) -> Registrar:
    with pytest.MonkeyPatch.context() as environment:  # etcd, which is started here, would read ETCD_CERT_FILE as well
        for name, value in {"ETCD_ADDRESS": address, **files}.items():
            environment.setenv(name, value)
        config = load(EtcdSettings).etcd(reader)
    assert config is not None
    return Registrar(config, "user", Instance("10.0.0.1:8888"), ttl=2)


def test_renewed_files_are_used_on_reconnect(tmp_path: Path, authority: Authority, mount: Mount) -> None:
    server = Mount(tmp_path / "etcd", authority.issue("127.0.0.1"))
    with Etcd(tls=server) as etcd:
        reader = Reader()
        registered = registrar(reader, etcd.address, mount.env("ETCD"))
        registered.start()
        wait_until(lambda: registered.held, 10)
        other = Authority("another authority")
        etcd.kill()
        server.renew(other.issue("127.0.0.1"))
        etcd.start()
        wait_until(lambda: not registered.held, 10)
        mount.renew(other.issue("a client"))
        reader.check()
        wait_until(lambda: registered.held, 10)
        registered.stop()


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("without a certificate", "etcd cannot be reached at ETCD_ADDRESS"),
        ("another authority", "CERTIFICATE_VERIFY_FAILED"),
        ("another name", "Hostname Verification Check failed"),
        ("authentication on", "etcd demands authentication, and ETCD_USERNAME and ETCD_PASSWORD are not set"),
    ],
)
def test_refusal_is_told(
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    authority: Authority,
    mount: Mount,
    kind: str,
    sentence: str,
) -> None:
    files = mount.env("ETCD")
    if kind == "without a certificate":
        files = {"ETCD_CA_FILE": files["ETCD_CA_FILE"]}
    if kind == "another authority":
        mount.renew({**authority.issue("a client"), AUTHORITY: Authority("another").pem})
    with Etcd("--bcrypt-cost=4", tls=Mount(tmp_path / "etcd", authority.issue("127.0.0.1"))) as etcd:
        if kind == "authentication on":
            etcd.enable_auth("root")
        address = etcd.address.replace("127.0.0.1", "localhost") if kind == "another name" else etcd.address
        stranger = registrar(Reader(), address, files)
        stranger.start()
        wait_until(lambda: sentence in caplog.text, 10, what=sentence)
        assert not stranger.held
        stranger.stop()


def test_common_name_of_a_client_certificate_is_told(
    caplog: pytest.LogCaptureFixture, authority: Authority, mount: Mount
) -> None:
    mount.renew(authority.issue("a client", common_name="root"))
    caplog.set_level("INFO")
    registrar(Reader(), "https://127.0.0.1:2379", mount.env("ETCD"))
    assert "etcd takes the common name" in caplog.text
