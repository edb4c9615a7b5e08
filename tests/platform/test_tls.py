"""The platform with TLS to the user services, to etcd and to the database."""

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
import pytest

from protos.user.v1 import user_pb2, user_pb2_grpc
from tests.platform.conftest import account
from tests.support.certificates import AUTHORITY, CERTIFICATE, KEY, Authority, Mount
from tests.support.etcd import Etcd, free_port
from tests.support.mariadb import PASSWORD as DATABASE_PASSWORD
from tests.support.mariadb import USER as DATABASE_USER
from tests.support.mariadb import Database, Server, server_binary
from tests.support.platform import Platform, admin, sample
from tests.support.process import Process
from tests.support.recorder import Recorder
from tests.support.traffic import Traffic, post
from tests.support.users_stub import UsersStub
from tests.support.wait import wait_until

ETCD_PASSWORD = "canary-of-etcd"
USER_PASSWORD = "canary-of-a-user"
BUSY = {"code": 503, "msg": "服务繁忙，请稍后重试"}
SUBJECTS = {
    "user-svc": ["user-svc"],
    "gateway-svc": ["gateway-svc"],
    "client": ["a client of etcd and of the database"],
    "etcd": ["127.0.0.1"],
    "mysql": ["127.0.0.1"],
}


@dataclass
class Secured:
    """A platform whose every connection passes a recorder."""

    platform: Platform
    server: Server
    database: Database
    authority: Authority
    mounts: dict[str, Mount]
    passwords: Path
    recorders: dict[str, Recorder] = field(default_factory=dict)

    @property
    def user(self) -> Process:
        return self.platform.users[0]

    @property
    def gateway(self) -> Process:
        return self.platform.gateways[0]

    def renew(self, name: str, authority: Authority, trusted: bytes | None = None) -> None:
        """Give `name` another certificate, and wait until its users have loaded it."""
        mount = self.mounts[name]
        readers = {"user-svc": [self.user], "gateway-svc": [self.gateway]}.get(name, [self.user, self.gateway])
        before = [self._taken(process, mount) for process in readers]
        mount.renew(authority.issue(*SUBJECTS[name]) | ({AUTHORITY: trusted} if trusted else {}))

        def is_taken() -> bool:
            return all(self._taken(process, mount) > count for process, count in zip(readers, before, strict=True))

        wait_until(is_taken, 30, what=f"{name} to be taken")

    def _taken(self, process: Process, mount: Mount) -> float:
        return sample(process, "file_reloads_total", file=str(mount[CERTIFICATE]), result="taken")


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    if server_binary() is None:
        pytest.skip("neither mariadbd nor mysqld is on the PATH")
    authority = Authority()
    mounts = {name: Mount(tmp_path / name, authority.issue(*subject)) for name, subject in SUBJECTS.items()}
    parts = {"cert": CERTIFICATE, "key": KEY, "ca": AUTHORITY}
    options = [f"--ssl-{part}={mounts['mysql'][name]}" for part, name in parts.items()]
    passwords = tmp_path / "passwords"
    for folder in (passwords, tmp_path / "mariadb"):
        folder.mkdir()
    (passwords / "db").write_text(DATABASE_PASSWORD)
    (passwords / "etcd").write_text(ETCD_PASSWORD)
    with ExitStack() as stack:
        etcd = stack.enter_context(Etcd("--bcrypt-cost=4", tls=mounts["etcd"]))
        etcd.enable_auth("root", {"platform": (ETCD_PASSWORD, "readwrite", "test/")})
        server = stack.enter_context(Server.create(tmp_path / "mariadb", *options, "--require-secure-transport=ON"))
        server.execute(f"ALTER USER '{DATABASE_USER}'@'%' REQUIRE X509")
        database = server.database()
        port = free_port()
        recorders = {
            name: stack.enter_context(Recorder(upstream))
            for name, upstream in (("etcd", etcd.client_port), ("mysql", server.port), ("user-svc", port))
        }
        env = {
            "ETCD_ADDRESS": f"https://127.0.0.1:{recorders['etcd'].port}",
            "ETCD_USERNAME": "platform",
            "ETCD_PASSWORD_FILE": str(passwords / "etcd"),
            **mounts["client"].env("ETCD"),
            "DB_DSN": f"{DATABASE_USER}@tcp(127.0.0.1:{recorders['mysql'].port})/{database.name}",
            "DB_PASSWORD_FILE": str(passwords / "db"),
            **mounts["client"].env("DB"),
            "FILE_POLL_INTERVAL": "0.2",
        }
        platform = stack.enter_context(Platform(etcd, tmp_path, users=0, gateways=0, env=env))
        advertised = f"127.0.0.1:{recorders['user-svc'].port}"
        platform.start_user(LISTEN_PORT=str(port), ADVERTISE_ADDRESS=advertised, **mounts["user-svc"].env("GRPC_TLS"))
        platform.start_gateway(**mounts["gateway-svc"].env("GRPC_TLS"))
        platform.wait_until_ready()
        yield Secured(platform, server, database, authority, mounts, passwords, recorders)


def new_name() -> str:
    return f"u_{secrets.token_hex(6)}"


def register_somebody(platform: Platform) -> int:
    with platform.client() as client:
        return client.post("/api/register", json=account(new_name(), USER_PASSWORD)).status_code


def test_network_sees_no_password(secured: Secured) -> None:
    name = new_name()
    with secured.platform.client() as client:
        assert client.post("/api/register", json=account(name, USER_PASSWORD)).status_code == 200
        assert client.post("/api/login", json=account(name, USER_PASSWORD)).status_code == 200
    for place, recorder in secured.recorders.items():
        seen = recorder.seen
        assert len(seen) > 2000, place
        for secret in (
            USER_PASSWORD,
            ETCD_PASSWORD,
            DATABASE_PASSWORD,
            name,
            "UserService",
            "SELECT",
            "kitex",
            "test/",
        ):
            assert secret.encode() not in seen, (place, secret)


def test_leaves_and_authority_rotate_under_load(secured: Secured) -> None:
    platform, first = secured.platform, secured.authority
    second = Authority("a second authority")
    both = first.pem + second.pem

    async def register(client: httpx.AsyncClient, _: int) -> httpx.Response:
        return await client.post(f"{platform.url}/api/register", json=account(new_name(), USER_PASSWORD))

    assert register_somebody(platform) == 200
    name = new_name()
    with platform.client() as client:
        client.post("/api/register", json=account(name, USER_PASSWORD))
    with (
        Traffic(register, rate=1) as registers,
        Traffic(post(platform.url, "/api/login", account(name, USER_PASSWORD)), rate=1) as logins,
    ):
        for _ in range(3):
            for leaf in ("gateway-svc", "user-svc", "client"):
                secured.renew(leaf, first)
                registers.wait_for(2)
        for authority, trusted in ((first, both), (second, both), (second, second.pem)):
            for leaf in ("user-svc", "gateway-svc"):
                secured.renew(leaf, authority, trusted)
            registers.wait_for(2)
    for traffic in (registers, logins):
        # A machine that is busy with other things may refuse a hash, which loses nothing.
        assert [sent for sent in traffic.others(200) if sent.body != BUSY] == []
        assert traffic.summary["200"] > 5
    rows = secured.database.execute("SELECT COUNT(*) AS users FROM users")
    assert rows[0]["users"] == registers.summary["200"] + 2
    assert all(admin(process, "/livez").status_code == 200 for process in (secured.user, secured.gateway))
    propagations = sample(secured.gateway, "registry_propagation_seconds_count")
    assert propagations == 1, "a renewed certificate is no new instance"
    with pytest.raises(grpc.RpcError):
        call(secured.user, first.issue("gateway-svc"), first.pem)  # the first authority is not trusted any more


def call(process: Process, files: dict[str, bytes], authority: bytes) -> None:
    credentials = grpc.ssl_channel_credentials(authority, files[KEY], files[CERTIFICATE])
    with grpc.secure_channel(process.target, credentials, [("grpc.ssl_target_name_override", "user-svc")]) as channel:
        user_pb2_grpc.UserServiceStub(channel).Login(user_pb2.LoginRequest(), timeout=5)


def test_unusable_files_keep_the_platform_up(secured: Secured) -> None:
    for name in ("user-svc", "gateway-svc", "client"):
        secured.mounts[name].renew({CERTIFICATE: b"", KEY: b"", AUTHORITY: b""})
    for process in (secured.user, secured.gateway):
        process.wait_for("a mounted file cannot be used")
    assert register_somebody(secured.platform) == 200
    secured.platform.etcd.restart()
    secured.server.stop()
    secured.server.start()
    wait_until(lambda: register_somebody(secured.platform) == 200, 20, what="registers after all connections broke")
    secured.platform.etcd.authenticate("root")
    wait_until(lambda: len(secured.platform.keys) == 1, 20, what="the service to be registered")


def test_database_password_is_rotated_without_a_restart(secured: Secured) -> None:
    secured.server.execute(f"ALTER USER '{DATABASE_USER}'@'%' IDENTIFIED BY 'another-canary'")
    (secured.passwords / "db").write_text("another-canary\n")
    secured.server.stop()
    secured.server.start()
    wait_until(lambda: register_somebody(secured.platform) == 200, 20, what="registers with the new password")
    assert secured.user.running
    assert "another-canary" not in secured.platform.output


def test_etcd_password_is_rotated_without_a_restart(secured: Secured) -> None:
    etcd = secured.platform.etcd
    etcd.ctl("--user=root:root", "user", "passwd", "platform", "--interactive=false", stdin="another-canary\n")
    (secured.passwords / "etcd").write_text("another-canary\n")
    etcd.restart()
    etcd.authenticate("root")
    for key in secured.platform.keys:
        etcd.delete(f"{secured.platform.prefix}/user/{key}")
    wait_until(lambda: len(secured.platform.keys) == 1, 30, what="the service to register with the new password")
    assert "another-canary" not in secured.platform.output


Plant = Callable[[int], None]


@pytest.fixture
def plant(secured: Secured) -> Plant:
    """Puts an instance on a port of 127.0.0.1 into etcd."""

    def put(port: int) -> None:
        etcd, address = secured.platform.etcd, f"127.0.0.1:{port}"
        record = {"network": "tcp", "address": address, "weight": 10, "tags": {}}
        etcd.put(f"{secured.platform.prefix}/user/{address}", json.dumps(record), etcd.grant(600))
        wait_until(lambda: sample(secured.gateway, "registry_endpoints") >= 2, 20, what="the gateway to know it")

    return put


@pytest.mark.parametrize("kind", ["plain", "of another authority", "of our authority for a database"])
def test_stranger_in_the_registry_gets_no_request(secured: Secured, plant: Plant, kind: str) -> None:
    files = {
        "plain": None,
        "of another authority": Authority().issue("user-svc"),
        "of our authority for a database": secured.authority.issue("mysql", "127.0.0.1"),
    }[kind]
    credentials = grpc.ssl_server_credentials([(files[KEY], files[CERTIFICATE])]) if files else None
    with UsersStub(credentials=credentials) as stranger, Recorder(stranger.port) as recorder:
        plant(recorder.port)
        wait_until(lambda: recorder.seen, 20, what="the gateway to try it")
        for _ in range(6):
            assert register_somebody(secured.platform) == 200
        assert stranger.calls == []
        assert USER_PASSWORD.encode() not in recorder.seen
