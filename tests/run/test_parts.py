"""What `make run` does before it starts the services."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from run.config import RunSettings, environment, keep_private, taken_ports
from run.etcd import etcd
from service_kit.settings import load
from tests.support.etcd import free_port


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunSettings:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / ".data"))
    for name in ("JWT_SECRET", "ETCD_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("GATEWAY_PORT", "USER_PORT", "ETCD_PORT", "ADMIN_PORT"):
        monkeypatch.setenv(name, str(free_port()))
    return load(RunSettings)


def key(settings: RunSettings) -> bytes:
    keep_private(settings.data_dir)
    return Path(environment(settings, "127.0.0.1:2379")["JWT_SECRET_FILE"]).read_bytes()


def test_a_folder_of_an_earlier_run_becomes_private(tmp_path: Path) -> None:
    folder = tmp_path / ".data"
    (folder / "etcd-left").mkdir(parents=True)
    for name in ("users.db", "users.db-wal", "jwt_secret", "etcd.log"):
        (folder / name).touch(mode=0o644)
    folder.chmod(0o755)
    keep_private(folder)
    assert mode(folder) == 0o700
    assert {mode(path) for path in folder.iterdir() if path.is_file()} == {0o600}
    assert mode(folder / "etcd-left") & 0o100


def test_a_folder_of_other_things_stays_open(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for name in ("users.db", "notes.txt"):
        (tmp_path / name).touch(mode=0o644)
    (tmp_path / "jwt_secret").symlink_to(tmp_path / "notes.txt")
    keep_private(tmp_path)
    assert (mode(tmp_path), mode(tmp_path / "users.db"), mode(tmp_path / "notes.txt")) == (0o755, 0o600, 0o644)


@pytest.mark.parametrize("left", [b"", b"0123abcd", b"0" * 63 + b"\n", b"\0" * 64, b"a" * 32 + b"\0" * 32])
def test_half_a_key_is_made_anew(settings: RunSettings, left: bytes) -> None:
    keep_private(settings.data_dir)
    (settings.data_dir / "jwt_secret").write_bytes(left)
    made = key(settings)
    assert len(bytes.fromhex(made.decode())) == 32
    assert mode(settings.data_dir / "jwt_secret") == 0o600
    assert key(settings) == made
    assert [path.name for path in settings.data_dir.iterdir()] == ["jwt_secret"]


@pytest.mark.parametrize("own", [b"0a" * 32 + b"\n", b"a key that someone chose, of no hexadecimal digits\n"])
def test_a_whole_key_is_kept(settings: RunSettings, own: bytes) -> None:
    keep_private(settings.data_dir)
    (settings.data_dir / "jwt_secret").write_bytes(own)
    assert key(settings) == own


def test_a_web_page_cannot_write_to_etcd(tmp_path: Path) -> None:
    port = free_port()
    with etcd(port, tmp_path, lambda: False):
        address = f"http://127.0.0.1:{port}"
        headers = {"Origin": "http://evil.example", "Content-Type": "text/plain"}
        put = httpx.post(
            f"{address}/v3/kv/put", content='{"key":"YQ==","value":"YQ=="}', headers=headers, trust_env=False
        )
        assert put.status_code == 404
        assert httpx.get(f"{address}/health", trust_env=False).status_code == 200


@pytest.mark.parametrize("variable", ["GATEWAY_PORT", "USER_PORT", "ETCD_PORT", "ADMIN_PORT"])
def test_taken_ports_are_reported_like_the_services_do(settings: RunSettings, variable: str) -> None:
    port = getattr(settings, variable.lower())
    with _taken(port):
        assert taken_ports(settings) == [f"{variable}: cannot listen on 127.0.0.1:{port}: Address already in use"]
    assert taken_ports(settings) == []


@contextmanager
def _taken(port: int) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", port)):
        yield
