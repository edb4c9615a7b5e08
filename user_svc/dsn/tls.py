"""TLS of connections to the database: the parameters of the DSN, and files that are set apart from it."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service_kit.files import Certificates, File, TlsFiles, UnusableFileError, Use
from user_svc.dsn.errors import InvalidDSNError

_TRUE = frozenset({"1", "true"})
_FALSE = frozenset({"0", "false"})
_MODES = frozenset({*_TRUE, "skip-verify", "preferred"})
_FILES = ("ssl_cert", "ssl_key", "ssl_ca")
PARAMETERS = frozenset({"tls", "ssl_check_hostname", *_FILES})


@dataclass(frozen=True)
class Tls:
    """How the server is verified, and the files for that."""

    files: TlsFiles
    chain: bool
    """Whether the server's certificate must be signed by one of the authorities, the system's if there is no file."""
    name: bool
    """Whether it must contain the host's name as well."""

    def context(self, certificates: Certificates) -> ssl.SSLContext:
        """Return the arguments of new connections while `certificates` are the newest."""
        authorities = certificates.authorities.decode("ascii", "ignore")  # bundles name authorities in UTF-8
        context = ssl.create_default_context(cadata=authorities or None)
        certificates.load_into(context)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # which the authorities that servers make for themselves fail
        context.check_hostname = self.name
        if not self.chain:
            context.verify_mode = ssl.CERT_NONE
        return context


def read(parameters: dict[str, str], files: TlsFiles | None) -> tuple[dict[str, Any], Tls | None]:
    """Read the parameters of TLS, which must be asked for as in Go's driver: by `tls`, an authority or a certificate.

    With an authority the server's chain and name are verified, unless the parameters say otherwise.
    """
    used = files or _files(parameters)
    mode = _mode(parameters, files) or ("true" if used.authorities else "skip-verify" if used.certificate else "false")
    check_name = parameters.get("ssl_check_hostname", "true").lower()
    if check_name not in {*_TRUE, *_FALSE}:
        raise InvalidDSNError("parameter ssl_check_hostname: must be true or false")
    if mode in _FALSE:
        return {"ssl_disabled": True}, None
    if mode == "preferred" and used.certificate is None:
        return {}, None  # PyMySQL's default, which reads the system's authorities for each connection: 20 ms
    verified = mode in _TRUE
    tls = Tls(used, chain=verified, name=verified and check_name in _TRUE)
    try:
        options = {"ssl": tls.context(used.read())}
    except (UnusableFileError, ssl.SSLError):
        if files is not None:
            raise
        # without the path, which may hold a part of a password that has characters of URLs
        raise InvalidDSNError("parameters ssl_ca, ssl_cert and ssl_key must name PEM files that can be used") from None
    return options, tls if used.certificate or used.authorities else None


def _mode(parameters: dict[str, str], files: TlsFiles | None) -> str:
    """Return the parameter `tls`, which may be empty, and must not contradict `files`."""
    mode = parameters.get("tls", "").lower()
    if mode not in {"", *_MODES, *_FALSE}:
        raise InvalidDSNError("parameter tls: must be true, false, skip-verify or preferred")
    if files is None:
        return mode
    if any(parameters.get(name) for name in _FILES):
        raise InvalidDSNError("DB_CA_FILE or DB_CERT_FILE is set and DB_DSN has a parameter ssl_...; keep one of them")
    if files.authorities is None and not mode:
        raise InvalidDSNError("DB_CERT_FILE is set without DB_CA_FILE; set that or parameter tls of DB_DSN")
    if files.authorities is not None and mode not in {"", *_TRUE}:
        raise InvalidDSNError("parameter tls: leaves out the verification that DB_CA_FILE asks for; remove one of them")
    return mode


def _files(parameters: dict[str, str]) -> TlsFiles:
    certificate, key, authorities = (
        File(f"{name} in DB_DSN", Path(parameters[name])) if parameters.get(name) else None for name in _FILES
    )
    if key and not certificate:
        raise InvalidDSNError("parameter ssl_key needs ssl_cert")
    return TlsFiles(certificate, key or certificate, authorities, (Use.CLIENT,))
