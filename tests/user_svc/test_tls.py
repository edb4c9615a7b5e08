"""TLS to the database, with a server that has a certificate."""

import datetime
import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from tests.support.mariadb import Database as Scratch
from tests.support.mariadb import Server, server_binary
from user_svc import dsn
from user_svc.database import Database


def certificate(folder: Path, address: str) -> Path:
    """Write a key and a certificate that vouches for itself and for `address`, and return the certificate's path."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "database")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    path = folder / "cert.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scratch, Path]]:
    if server_binary() is None:
        pytest.skip("neither mariadbd nor mysqld is on the PATH")
    folder = tmp_path_factory.mktemp("tls")
    path = certificate(folder, "127.0.0.1")
    options = (f"--ssl-cert={path}", f"--ssl-key={folder / 'key.pem'}", f"--ssl-ca={path}")
    with Server.create(folder, *options) as server:
        yield server.database(), path


def cipher(source: dsn.Source) -> str:
    database = Database(source)
    try:
        with database.engine.connect() as connection:
            return str(connection.execute(text("SHOW STATUS LIKE 'Ssl_cipher'")).one()[1])
    finally:
        database.close()


@pytest.mark.parametrize(
    ("parameters", "encrypted"),
    [
        ("", False),
        ("tls=false", False),
        ("tls=preferred", True),
        ("tls=skip-verify", True),
        ("ssl_ca={path}", True),
        ("tls=true&ssl_ca={path}", True),
    ],
)
def test_what_is_asked_for_is_had(secured: tuple[Scratch, Path], parameters: str, *, encrypted: bool) -> None:
    database, path = secured
    text_ = f"{database.url}?{parameters.format(path=path)}"
    assert bool(cipher(dsn.parse(text_))) == encrypted
    go = f"{database.go_dsn}&{parameters.format(path=str(path).replace('/', '%2F'))}"
    assert bool(cipher(dsn.parse(go))) == encrypted


@pytest.mark.parametrize("parameters", ["tls=true", "ssl_ca={other}"])
def test_a_stranger_is_refused(secured: tuple[Scratch, Path], tmp_path: Path, parameters: str) -> None:
    other = certificate(tmp_path, "127.0.0.1")
    source = dsn.parse(f"{secured[0].url}?{parameters.format(other=other)}")
    with pytest.raises(OperationalError, match="certificate verify failed"):
        cipher(source)


def test_the_name_counts_unless_told_otherwise(secured: tuple[Scratch, Path]) -> None:
    database, path = secured
    elsewhere = database.url.replace("127.0.0.1", "localhost")
    assert cipher(dsn.parse(f"{elsewhere}?ssl_ca={path}&ssl_check_hostname=false"))
    for parameters in ("", "&tls=true"):
        with pytest.raises(OperationalError, match="certificate verify failed"):
            cipher(dsn.parse(f"{elsewhere}?ssl_ca={path}{parameters}"))


def test_comments_of_a_bundle_are_left_out(secured: tuple[Scratch, Path], tmp_path: Path) -> None:
    database, path = secured
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes("# NetLock Arany (Class Gold) Főtanúsítvány\n".encode() + path.read_bytes())
    assert cipher(dsn.parse(f"{database.url}?ssl_ca={bundle}"))
