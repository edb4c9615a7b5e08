"""The platform with TLS everywhere: to the user services, to etcd, to the database, and to the gateway itself."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.platform.conftest import account
from tests.support.certificates import AUTHORITY, CERTIFICATE, KEY, Authority, Mount
from tests.support.etcd import Etcd
from tests.support.mariadb import Server, server_binary
from tests.support.platform import Platform

INTERVAL = "0.2"


@dataclass
class Secured:
    platform: Platform
    authority: Authority
    mounts: dict[str, Mount]


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    if server_binary() is None:
        pytest.skip("neither mariadbd nor mysqld is on the PATH")
    authority = Authority()
    names = {"user-svc": ["user-svc"], "gateway-svc": ["gateway-svc"], "client": ["etcd-client"], "etcd": ["127.0.0.1"]}
    mounts = {name: Mount(tmp_path / name, authority.issue(*subject)) for name, subject in names.items()}
    mounts["mysql"] = Mount(tmp_path / "mysql", authority.issue("127.0.0.1"))
    server_options = [
        f"--ssl-{part}={mounts['mysql'][name]}"
        for part, name in (("cert", CERTIFICATE), ("key", KEY), ("ca", AUTHORITY))
    ]
    database_folder = tmp_path / "mariadb"
    database_folder.mkdir()
    with (
        Etcd(tls=mounts["etcd"]) as etcd,
        Server.create(database_folder, *server_options, "--require-secure-transport=ON") as server,
    ):
        env = {
            "ETCD_ADDRESS": etcd.address,
            **mounts["client"].env("ETCD"),
            "DB_DSN": server.database().go_dsn,
            **mounts["client"].env("DB"),
            "FILE_POLL_INTERVAL": INTERVAL,
        }
        platform = Platform(etcd, tmp_path, users=0, gateways=0, env=env)
        with platform:
            platform.start_user(**mounts["user-svc"].env("GRPC_TLS"))
            platform.start_gateway(**mounts["gateway-svc"].env("GRPC_TLS"))
            platform.wait_until_ready()
            yield Secured(platform, authority, mounts)


def test_register_and_login_over_tls(secured: Secured) -> None:
    name = f"u_{secrets.token_hex(6)}"
    with secured.platform.client() as client:
        assert client.post("/api/register", json=account(name)).status_code == 200
        assert client.post("/api/login", json=account(name)).status_code == 200
