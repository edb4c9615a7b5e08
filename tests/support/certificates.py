"""Certificate authorities that a test makes, and folders of certificates as Kubernetes mounts them."""

import datetime
import ipaddress
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOUR = datetime.timedelta(hours=1)
CERTIFICATE, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"

_BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


class Authority:
    """A certificate authority."""

    def __init__(self, name: str = "an authority of the tests", *, lifetime: datetime.timedelta = HOUR) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = _signed(
            self._name,
            self._name,
            self._key,
            self._key,
            lifetime,
            [(x509.BasicConstraints(ca=True, path_length=None), True)],
        )

    @property
    def pem(self) -> bytes:
        """Its certificate."""
        return self._certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        *names: str,
        lifetime: datetime.timedelta = HOUR,
        common_name: str = "",
        usages: Sequence[x509.ObjectIdentifier] = _BOTH,
    ) -> dict[str, bytes]:
        """Return the files of a certificate for `names`, DNS names or IP addresses, as cert-manager calls them."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])
        alternatives = x509.SubjectAlternativeName([_general(name) for name in names])
        extensions = [(alternatives, True), (x509.ExtendedKeyUsage(usages), False)]
        certificate = _signed(subject, self._name, key, self._key, lifetime, extensions)
        return {
            CERTIFICATE: certificate.public_bytes(Encoding.PEM),
            KEY: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            AUTHORITY: self.pem,
        }


class Mount:
    """A folder that is filled as the kubelet fills that of a Secret: every renewal moves one link, `..data`."""

    def __init__(self, folder: Path, files: Mapping[str, bytes]) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.renew(files)

    def renew(self, files: Mapping[str, bytes]) -> None:
        """Replace all files at once, and remove the version before."""
        version = self.folder / f"..{uuid.uuid4().hex}"
        version.mkdir()
        for name, data in files.items():
            (version / name).write_bytes(data)
        link = self.folder / "..data"
        old = link.resolve() if link.is_symlink() else None
        temporary = self.folder / "..data_tmp"
        temporary.symlink_to(version.name)
        temporary.rename(link)
        for name in files:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(Path("..data") / name)
        if old is not None:
            shutil.rmtree(old)

    def __getitem__(self, name: str) -> Path:
        return self.folder / name

    def env(self, prefix: str) -> dict[str, str]:
        """The settings that name the files, such as GRPC_TLS_CERT_FILE; those that are not there are left out."""
        names = {"CERT": CERTIFICATE, "KEY": KEY, "CA": AUTHORITY}
        return {
            f"{prefix}_{part}_FILE": str(self.folder / name)
            for part, name in names.items()
            if os.path.lexists(self.folder / name)
        }


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    lifetime: datetime.timedelta,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - 24 * HOUR).not_valid_after(now + lifetime)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer, hashes.SHA256())
