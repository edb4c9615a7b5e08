"""The reader of mounted files, on folders as the kubelet fills them."""

import datetime
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from prometheus_client import REGISTRY

from service_kit.files import Certificates, File, MountedFiles, Reader, TlsFiles, UnusableFileError, Use, password
from tests.support.certificates import AUTHORITY, CERTIFICATE, HOUR, KEY, Authority, Mount


def tls_files(mount: Mount, *uses: Use) -> TlsFiles:
    certificate, key, authority = (File(f"X_{name}", mount[name]) for name in (CERTIFICATE, KEY, AUTHORITY))
    return TlsFiles(certificate, key, authority, uses)


def count(path: Path, result: str) -> float:
    return REGISTRY.get_sample_value("file_reloads_total", {"file": str(path), "result": result}) or 0.0


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def mount(authority: Authority, tmp_path: Path) -> Mount:
    return Mount(tmp_path / "mount", authority.issue("user-svc"))


def test_changed_files_are_taken_and_told(mount: Mount, authority: Authority) -> None:
    reader = Reader(0.05)
    followed = tls_files(mount).follow(reader)
    changed = threading.Event()
    followed.on_change(changed.set)
    reader.start()
    renewed = authority.issue("other")
    mount.renew(renewed)
    assert changed.wait(10)
    reader.stop()
    assert followed.value == Certificates(renewed[CERTIFICATE], renewed[KEY], authority.pem, ("other",))
    assert count(mount[CERTIFICATE], "taken") == count(mount[KEY], "taken") == 1
    assert count(mount[AUTHORITY], "taken") == 0


def spoilt(authority: Authority) -> dict[str, tuple[Mapping[str, bytes], str, str]]:
    good = authority.issue("user-svc")
    server_only = [ExtendedKeyUsageOID.SERVER_AUTH]
    return {
        "missing": ({CERTIFICATE: good[CERTIFICATE], AUTHORITY: good[AUTHORITY]}, KEY, "does not exist"),
        "empty": ({**good, CERTIFICATE: b""}, CERTIFICATE, "holds no certificate"),
        "cut": ({**good, CERTIFICATE: good[CERTIFICATE][:200]}, CERTIFICATE, "holds no certificate"),
        "expired": (authority.issue("user-svc", lifetime=-HOUR), CERTIFICATE, "expired at"),
        "of another key": ({**good, KEY: authority.issue("user-svc")[KEY]}, KEY, "another key"),
        "no key": ({**good, KEY: b"c4n4ry"}, KEY, "no private key"),
        "nameless": (authority.issue("10.0.0.1"), CERTIFICATE, "without a DNS name"),
        "for servers": (authority.issue("user-svc", usages=server_only), CERTIFICATE, "lacks client auth"),
        "no authority": ({**good, AUTHORITY: good[KEY]}, AUTHORITY, "holds no certificate"),
    }


@pytest.mark.parametrize(
    "kind",
    ["missing", "empty", "cut", "expired", "of another key", "no key", "nameless", "for servers", "no authority"],
)
def test_unusable_file_keeps_the_old_one(
    mount: Mount, authority: Authority, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    files, name, reason = spoilt(authority)[kind]
    reader = Reader()
    followed = tls_files(mount, Use.SERVER, Use.CLIENT).follow(reader)
    before = followed.value
    mount.renew(files)
    for _ in range(3):
        reader.check()
    assert followed.value is before
    assert count(mount[name], "failed") == 3
    (line,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    cause = line.__dict__["cause"]
    assert cause.startswith(f"X_{name}: {mount[name]} ")
    assert reason in cause
    assert "c4n4ry" not in cause
    mount.renew(authority.issue("user-svc"))
    reader.check()
    assert followed.value is not before


@pytest.mark.parametrize("kind", ["missing", "empty", "expired"])
def test_unusable_file_is_refused_at_start(mount: Mount, authority: Authority, kind: str) -> None:
    files, _, reason = spoilt(authority)[kind]
    mount.renew(files)
    with pytest.raises(UnusableFileError, match=reason):
        tls_files(mount).follow(Reader())


def test_expiry_is_exported_of_what_is_in_use(mount: Mount, authority: Authority) -> None:
    reader = Reader()
    tls_files(mount).follow(reader)

    def expiry() -> float:
        value = REGISTRY.get_sample_value("tls_certificate_expiry_seconds", {"file": str(mount[CERTIFICATE])})
        assert value is not None
        return value - datetime.datetime.now(datetime.UTC).timestamp()

    assert 3500 < expiry() < 3601
    mount.renew(authority.issue("user-svc", lifetime=-HOUR))
    reader.check()
    assert 3500 < expiry() < 3601
    mount.renew(authority.issue("user-svc", lifetime=2 * HOUR))
    reader.check()
    assert 7100 < expiry() < 7201


def test_files_of_two_versions_never_mix(tmp_path: Path) -> None:
    names = ("a", "b")
    mount = Mount(tmp_path / "mount", dict.fromkeys(names, b"0"))
    files = [File(name, mount[name]) for name in names]

    def parse(contents: Mapping[File, bytes]) -> tuple[bytes, ...]:
        return tuple(contents[file] for file in files)

    followed = Reader().follow(files, parse)
    seen, ended = set(), threading.Event()

    def renew() -> None:
        for number in range(1, 300):
            mount.renew(dict.fromkeys(names, b"%d" % number))
        ended.set()

    thread = threading.Thread(target=renew)
    thread.start()
    while not ended.is_set():
        followed.check()
        seen.add(followed.value)
    thread.join()
    assert len(seen) > 3
    assert all(first == second for first, second in seen)


@pytest.mark.parametrize(
    ("replace", "value"),
    [
        (lambda path: path.write_text("renewed\n"), "renewed"),
        (lambda path: path.write_text(""), "secret"),
        (lambda path: path.write_bytes(b"\xff"), "secret"),
        (lambda path: path.unlink(), "secret"),
    ],
    ids=["renewed", "empty", "not UTF-8", "gone"],
)
def test_password_in_a_file(tmp_path: Path, replace: Callable[[Path], object], value: str) -> None:
    path = tmp_path / "password"
    path.write_text("secret\n")
    reader = Reader()
    followed: MountedFiles[str] = reader.follow([File("DB_PASSWORD_FILE", path)], password)
    assert followed.value == "secret"
    replace(path)
    reader.check()
    assert followed.value == value


def test_listener_that_fails_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    reader = Reader()
    for path in (first, second):
        path.write_text("old")
    broken = reader.follow([File("FIRST_FILE", first)], password)
    sound = reader.follow([File("SECOND_FILE", second)], password)

    def fail() -> None:
        raise RuntimeError

    broken.on_change(fail)
    for path in (first, second):
        path.write_text("new")
    reader.check()
    assert sound.value == broken.value == "new"
    assert "could not be read again" in caplog.text
