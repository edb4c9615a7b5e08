"""Settings of a run, and the environment of each process."""

import http.client
import os
import re
import secrets
import sys
import tempfile
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from service_kit.ports import PortTakenError, listen
from service_kit.settings import EtcdSettings

HOST = "127.0.0.1"

_KEY_BYTES = 32

_OWN_FILES = re.compile(r"users\.db.*|\.?jwt_secret.*|etcd\.log|etcd-.*")
"""Files that a run leaves in its folder."""

Port = Annotated[int, Field(ge=1, le=65535)]


class RunSettings(EtcdSettings):
    """The settings of `make run`; all others go to the services as they are."""

    users: int = Field(default=1, ge=1, le=16)
    """User services behind the gateway"""
    gateway_port: Port = 8080
    """Port of the gateway"""
    user_port: Port = 8888
    """Port of the first user service; each further one uses the next"""
    etcd_port: Port = 2379
    """Port of the etcd that is started; with `ETCD_ADDRESS` none is"""
    admin_port: Port = 9090
    """Admin port of the gateway; the user services use the next ones"""
    data_dir: Path = Path(".data")
    """Folder of users, keys and logs"""
    jwt_secret: SecretStr | None = None
    """As for gateway_svc; generated and kept in `DATA_DIR` if not set"""
    hash_slots: int | None = None
    """As for user_svc; the cores divided by `USERS` if not set"""

    @property
    def ports(self) -> dict[int, tuple[str, str]]:
        """Every port that a process will listen on, with the process and the variable that sets it.

        Raises:
            ValueError: when two processes would share a port or a port would be past 65535.
        """
        wanted = [(self.gateway_port, "the gateway", "GATEWAY_PORT")]
        wanted += [(self.user_port + i, f"user service {i + 1}", "USER_PORT") for i in range(self.users)]
        if not self.etcd_address:
            wanted.append((self.etcd_port, "etcd", "ETCD_PORT"))
        wanted += [(self.admin_port, "the gateway's admin port", "ADMIN_PORT")]
        wanted += [(self.user_admin_port(i), f"user service {i + 1}'s admin port", "ADMIN_PORT") for i in self.indexes]
        ports: dict[int, tuple[str, str]] = {}
        for port, who, variable in wanted:
            if port > 65535:
                raise ValueError(f"{who} would need port {port}, and the last one is 65535; lower {variable}")
            if port in ports:
                raise ValueError(f"{ports[port][0]} and {who} would share port {port}; change {variable}")
            ports[port] = (who, variable)
        return ports

    @property
    def indexes(self) -> range:
        """The user services, from 0."""
        return range(self.users)

    def user_admin_port(self, index: int) -> int:
        """The admin port of the user service `index`."""
        return self.admin_port + 1 + index


def taken_ports(settings: RunSettings) -> list[str]:
    """Return an error message for each port that cannot be listened on."""
    problems = []
    for port, (_, variable) in settings.ports.items():
        try:
            listen(variable, HOST, port).close()
        except PortTakenError as error:
            problems.append(str(error))
    return problems


def answers(port: int, path: str) -> bool:
    """Whether a process answers an HTTP request on 127.0.0.1 with 200."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def keep_private(folder: Path) -> None:
    """Make the folder of a run, and the files of earlier runs in it, accessible to its owner alone.

    A folder that holds other things as well keeps its mode.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = {path.name for path in folder.iterdir()}
    own = {name for name in names if _OWN_FILES.fullmatch(name)}
    if own == names:
        folder.chmod(0o700)
    for name in own:
        path = folder / name
        if path.is_file() and not path.is_symlink():
            path.chmod(0o600)


def environment(settings: RunSettings, etcd_address: str) -> dict[str, str]:
    """Return the environment of every service."""
    given = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "LISTEN_HOST": HOST,
        "ADMIN_HOST": HOST,
        "ETCD_ADDRESS": etcd_address,
        "DATA_DIR": str(settings.data_dir.resolve()),
    }
    # honcho kills what still runs 5 s after the stop began
    given.setdefault("DRAIN_DELAY", "0")
    given.setdefault("GRACE", "3")
    if sys.stdout.isatty():
        given.setdefault("LOG_FORMAT", "text")
    if settings.jwt_secret is None:
        given["JWT_SECRET_FILE"] = str(_development_secret(settings.data_dir))
    if settings.hash_slots is None and settings.users > 1:
        given["HASH_SLOTS"] = str(max(1, _cores() // settings.users))
    return given


def gateway_environment(settings: RunSettings) -> dict[str, str]:
    """Return the gateway's own variables."""
    return {"LISTEN_PORT": str(settings.gateway_port), "ADMIN_PORT": str(settings.admin_port)}


def user_environment(settings: RunSettings, index: int) -> dict[str, str]:
    """Return one user service's own variables."""
    port = settings.user_port + index
    return {
        "LISTEN_PORT": str(port),
        "ADMIN_PORT": str(settings.user_admin_port(index)),
        "ADVERTISE_ADDRESS": f"{HOST}:{port}",
    }


def _development_secret(folder: Path) -> Path:
    """Return the file with this machine's own token key, made when there is none or half of one."""
    path = folder.resolve() / "jwt_secret"
    if not path.exists() or _is_cut_short(path.read_bytes().strip()):
        with tempfile.NamedTemporaryFile(
            "w", encoding="ascii", dir=folder, prefix=".jwt_secret-", delete=False
        ) as file:
            file.write(secrets.token_hex(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(path)
    return path


def _is_cut_short(key: bytes) -> bool:
    """Whether a key is incomplete after a crash; file systems fill the rest with zeros."""
    return re.fullmatch(rb"[0-9a-f\0]*", key) is not None and (len(key) < 2 * _KEY_BYTES or 0 in key)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
