"""A certificate for measurements that is its own authority and serves both sides of mutual TLS."""

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


def write(folder: Path) -> dict[str, str]:
    """Write the files and return the settings that name them."""
    key = ec.generate_private_key(ec.SECP256R1())
    now, name = datetime.datetime.now(datetime.UTC), x509.Name([])
    names = [x509.DNSName(name) for name in ("user-svc", "gateway-svc")]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(Encoding.PEM)
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    settings = {}
    for part, data in (("CERT", pem), ("KEY", key_pem), ("CA", pem)):
        path = folder / f"grpc-{part.lower()}.pem"
        path.write_bytes(data)
        settings[f"GRPC_TLS_{part}_FILE"] = str(path)
    return settings
