"""What the settings accept, what they refuse, and how a service ends that cannot start."""

import socket
from pathlib import Path

import pytest

from service_kit.settings import InvalidSettingsError, load
from tests.support.certificates import Authority
from tests.support.process import Process
from user_svc.config import UserSettings

CANARY = "c4n4ry-s3cr3t"


@pytest.fixture(autouse=True)
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for field in UserSettings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)


def read(monkeypatch: pytest.MonkeyPatch, **env: str) -> UserSettings:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return load(UserSettings)


def problems(monkeypatch: pytest.MonkeyPatch, **env: str) -> list[str]:
    with pytest.raises(InvalidSettingsError) as raised:
        read(monkeypatch, **env)
    return raised.value.problems


def test_the_defaults_need_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch)
    assert settings.database.file == Path(".data/users.db")
    assert settings.database_variable == "DATA_DIR"
    assert (settings.listen_port, settings.bcrypt_cost, settings.drain_delay, settings.grace) == (8888, 14, 2, 20)


def test_the_pool_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = read(monkeypatch)
    assert (defaults.db_pool_size, defaults.db_max_overflow, defaults.db_pool_recycle) == (10, 90, None)
    settings = read(monkeypatch, DB_POOL_SIZE="2", DB_MAX_OVERFLOW="0", DB_POOL_RECYCLE="30")
    assert (settings.db_pool_size, settings.db_max_overflow, settings.db_pool_recycle) == (2, 0, 30)
    found = problems(monkeypatch, DB_POOL_SIZE="0", DB_MAX_OVERFLOW="-1", DB_POOL_RECYCLE="0")
    assert len(found) == 3


def test_throttling_and_password_check_are_on_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = read(monkeypatch)
    assert (defaults.throttle_mode.value, defaults.password_check.value) == ("enforce", "change")
    settings = read(monkeypatch, THROTTLE_MODE="observe", PASSWORD_CHECK="off")
    assert (settings.throttle_mode.value, settings.password_check.value) == ("observe", "off")
    found = problems(monkeypatch, THROTTLE_MODE="lax", PASSWORD_CHECK="register")
    assert [each.split(":")[0] for each in found] == ["PASSWORD_CHECK", "THROTTLE_MODE"]


def test_db_password_stands_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, DB_DSN="u@tcp(h)/db", DB_PASSWORD=CANARY)
    assert settings.database.connect["password"] == CANARY.encode()
    assert CANARY not in repr(settings)


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ({"DB_CA_FILE": "ca.crt"}, "DB_CA_FILE and DB_CERT_FILE need a DB_DSN"),
        ({"DB_DSN": "sqlite:///x.db", "DB_CA_FILE": "ca.crt"}, "DB_CA_FILE and DB_CERT_FILE are not for SQLite"),
        ({"DB_DSN": "u@tcp(h)/db?tls=skip-verify", "DB_CA_FILE": "ca.crt"}, "parameter tls: leaves out"),
        ({"DB_DSN": "u@tcp(h)/db?ssl_ca=ca.crt", "DB_CA_FILE": "ca.crt"}, "keep one of them"),
        ({"DB_DSN": "u@tcp(h)/db", "DB_CERT_FILE": "tls.crt", "DB_KEY_FILE": "tls.key"}, "without DB_CA_FILE"),
        ({"DB_DSN": "u@tcp(h)/db", "DB_CERT_FILE": "tls.crt"}, "DB_KEY_FILE: must be set when DB_CERT_FILE is"),
        ({"DB_DSN": "u@tcp(h)/db", "DB_CA_FILE": "missing.crt"}, "DB_CA_FILE: missing.crt does not exist"),
        ({"DB_DSN": "u@tcp(h)/db", "DB_CA_FILE": "tls.key"}, "DB_CA_FILE: tls.key holds no certificate"),
    ],
)
def test_files_of_the_database_agree(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, env: dict[str, str], problem: str
) -> None:
    files = Authority().issue("a client")
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    found = problems(monkeypatch, **env)
    assert any(problem in each for each in found), found


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"POD_IP": "10.1.2.3"}, "10.1.2.3:8888"),
        ({"POD_IP": "fd00::1"}, "[fd00::1]:8888"),
        ({"POD_IP": "10.1.2.3", "ADVERTISE_ADDRESS": "10.9.9.9"}, "10.9.9.9:8888"),
        ({"ADVERTISE_ADDRESS": "10.9.9.9:9999"}, "10.9.9.9:9999"),
        ({"ADVERTISE_ADDRESS": "[fd00::1]:9999"}, "[fd00::1]:9999"),
        ({"ADVERTISE_ADDRESS": "[fd00::1]"}, "[fd00::1]:8888"),
        ({"LISTEN_HOST": "127.0.0.1"}, "127.0.0.1:8888"),
    ],
)
def test_what_is_registered(monkeypatch: pytest.MonkeyPatch, env: dict[str, str], expected: str) -> None:
    assert read(monkeypatch, ETCD_ADDRESS="etcd:2379", **env).advertised(8888) == expected


@pytest.mark.parametrize("address", ["0.0.0.0", "0.0.0.0:8888", "::", "[::]:8888", "224.0.0.1", "fe80::1%eth0"])
def test_undialable_addresses_are_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    (problem,) = problems(monkeypatch, ADVERTISE_ADDRESS=address)
    assert problem.startswith("ADVERTISE_ADDRESS")


@pytest.mark.parametrize(
    "address",
    [
        "users",
        "users:1",
        "10.1",
        "10.1.1.1:",
        "10.1.1.1:0",
        "10.1.1.1:65536",
        "[10.1.1.1]:1",
        ":1",
        "[fd00::1]x",
        "[fd00::1]:",
    ],
)
def test_a_malformed_address_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    (problem,) = problems(monkeypatch, ADVERTISE_ADDRESS=address)
    assert problem.startswith("ADVERTISE_ADDRESS")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "localhost"])
def test_a_registry_needs_something_to_register(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    (problem,) = problems(monkeypatch, ETCD_ADDRESS="etcd:2379", LISTEN_HOST=host)
    assert problem.startswith("ADVERTISE_ADDRESS is not set")
    assert "POD_IP" in problem


def test_all_problems_are_reported_without_values(tmp_path: Path) -> None:
    env = {
        "DB_DSN": f"user:{CANARY}@tcp(db)/users?{CANARY}=1",
        "LISTEN_PORT": CANARY,
        "BCRYPT_COST": "9",
        "HASH_SLOTS": "0",
        "ETCD_ADDRESS": CANARY,
        "ADVERTISE_ADDRESS": "0.0.0.0",
        "POD_IP": "0.0.0.0",
        "LOG_LEVEL": CANARY,
        "GRACE": "-1",
        "ACCESS_LOG_SAMPLE": "2",
        "OTEL_TRACES_SAMPLER": CANARY,
    }
    with Process("user_svc", env=env, cwd=tmp_path) as process:
        assert process.wait() == 2
        assert {line.split()[1].rstrip(":") for line in process.output.splitlines()} == env.keys()
        assert CANARY not in process.output
        assert "Traceback" not in process.output


@pytest.mark.parametrize(
    ("env", "name"),
    [
        ({"DB_DSN_REQUIRED": "true"}, "DB_DSN"),
        ({"DB_DSN": f"u:{CANARY}@tcp(h)/db", "DB_PASSWORD": CANARY}, "DB_PASSWORD"),
        ({"DB_DSN_FILE": f"/{CANARY}"}, "DB_DSN"),
    ],
)
def test_settings_that_do_not_go_together(monkeypatch: pytest.MonkeyPatch, env: dict[str, str], name: str) -> None:
    (problem,) = problems(monkeypatch, **env)
    assert problem.startswith(name)
    assert CANARY not in problem


@pytest.mark.parametrize("variable", ["LISTEN_PORT", "ADMIN_PORT"])
def test_a_taken_port_ends_it_with_one_sentence(tmp_path: Path, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Process("user_svc", env={variable: str(port)}, cwd=tmp_path) as process:
            assert process.wait() == 1
            assert process.output == f"error: {variable}: cannot listen on 127.0.0.1:{port}: Address already in use\n"
