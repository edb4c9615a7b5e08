"""Certificates, keys and authorities in PEM files: checked when they are read."""

import datetime
import enum
import os
import ssl
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from service_kit.files import metrics
from service_kit.files.reader import Contents, File, MountedFiles, Reader, UnusableFileError


class Use(enum.Enum):
    """Uses of a certificate, by cert-manager's names."""

    SERVER = "server auth"
    CLIENT = "client auth"


_USES = {Use.SERVER: ExtendedKeyUsageOID.SERVER_AUTH, Use.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH}


@dataclass(frozen=True)
class Certificates:
    """PEM files of one side of TLS connections; empty where there is no file."""

    certificate: bytes
    """With the intermediate ones after it."""
    key: bytes
    authorities: bytes
    """Those that the peer's certificate must be signed by."""
    names: tuple[str, ...] = ()
    """The DNS names of the certificate's subject, in lower case."""
    common_name: str = ""

    def load_into(self, context: ssl.SSLContext) -> None:
        """Have new handshakes of `context` present the certificate, if there is one."""
        if not self.certificate:
            return
        # ssl reads only files, and a key has no place on a disk.
        memory = os.memfd_create("certificate")
        with os.fdopen(memory, "wb") as file:
            file.write(self.certificate + b"\n" + self.key)
            file.flush()
            context.load_cert_chain(f"/proc/self/fd/{memory}")


@dataclass(frozen=True)
class TlsFiles:
    """Where the certificate, its key and the authorities are; the first two go together."""

    certificate: File | None
    key: File | None
    authorities: File | None
    uses: tuple[Use, ...]
    """What the certificate is for; one that has an extended key usage must allow all of them."""

    def follow(self, reader: Reader) -> MountedFiles[Certificates]:
        """Read the files now and whenever they change.

        Raises:
            UnusableFileError: when they cannot be used now.
        """
        return reader.follow(self._files, self._parse)

    def read(self) -> Certificates:
        """Read the files once.

        Raises:
            UnusableFileError: when they cannot be used.
        """
        return MountedFiles(self._files, self._parse).value

    @property
    def _files(self) -> list[File]:
        return [file for file in (self.certificate, self.key, self.authorities) if file is not None]

    def _parse(self, contents: Contents) -> Certificates:
        certificate, key, authorities = (
            b"" if file is None else contents[file] for file in (self.certificate, self.key, self.authorities)
        )
        expiries: dict[File, datetime.datetime] = {}
        leaf: x509.Certificate | None = None
        if self.authorities is not None:
            roots = _load(self.authorities, authorities)
            expiries[self.authorities] = max(root.not_valid_after_utc for root in roots)
        if self.certificate is not None and self.key is not None:
            leaf = _load(self.certificate, certificate)[0]
            _check_use(self.certificate, leaf, self.uses)
            _check_key(self.key, key, leaf)
            expiries[self.certificate] = leaf.not_valid_after_utc
            if leaf.not_valid_before_utc > datetime.datetime.now(datetime.UTC):
                reason = (
                    f"holds a certificate that is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC"
                )
                raise UnusableFileError(self.certificate, reason)
            if {Use.SERVER, Use.CLIENT} <= set(self.uses) and not _names(leaf):
                raise UnusableFileError(
                    self.certificate, "holds a certificate without a DNS name, by which it is known"
                )
        for file, expiry in expiries.items():
            if expiry <= datetime.datetime.now(datetime.UTC):
                raise UnusableFileError(file, f"holds a certificate that expired at {expiry:%Y-%m-%d %H:%M:%S} UTC")
        for file, expiry in expiries.items():
            metrics.expires(file.path, expiry.timestamp())
        return Certificates(certificate, key, authorities, _names(leaf), _common_name(leaf))


def _load(file: File, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise UnusableFileError(file, "holds no certificate in PEM form") from None


def _check_key(file: File, pem: bytes, leaf: x509.Certificate) -> None:
    try:
        key = load_pem_private_key(pem, None)
        fits = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == (
            leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):  # a TypeError is for one with a passphrase
        raise UnusableFileError(file, "holds no private key in PEM form without a passphrase") from None
    if not fits:
        raise UnusableFileError(file, "holds another key than that of the certificate")


def _check_use(file: File, leaf: x509.Certificate, uses: tuple[Use, ...]) -> None:
    try:
        allowed = set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return
    missing = [use.value for use in uses if _USES[use] not in allowed]
    if missing and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in allowed:
        raise UnusableFileError(
            file, f"holds a certificate whose extended key usage lacks {' and '.join(missing)}; issue one that has it"
        )


def _names(leaf: x509.Certificate | None) -> tuple[str, ...]:
    if leaf is None:
        return ()
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(name.lower() for name in names.get_values_for_type(x509.DNSName))


def _common_name(leaf: x509.Certificate | None) -> str:
    names = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME) if leaf is not None else []
    return str(names[0].value) if names else ""
