"""A private MariaDB or MySQL server on a free port of 127.0.0.1, in a folder of its own."""

import getpass
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pymysql

from tests.support import suspension
from tests.support.etcd import free_port

USER = "app"
PASSWORD = "app-pass+word"

_SBIN = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])


def server_binary() -> str | None:
    """The path of mariadbd or mysqld, or None when there is neither."""
    return shutil.which("mariadbd", path=_SBIN) or shutil.which("mysqld", path=_SBIN)


@dataclass(frozen=True)
class Database:
    """A database of its own in a running server."""

    server: "Server"
    name: str

    @property
    def go_dsn(self) -> str:
        """The form in which Go programs write it."""
        return self.go_dsn_by(self.server.port)

    def go_dsn_by(self, port: int) -> str:
        """The same by way of a proxy on another port."""
        address = f"tcp(127.0.0.1:{port})"
        return f"{USER}:{PASSWORD}@{address}/{self.name}?charset=utf8mb4&parseTime=True&loc=Local"

    @property
    def url(self) -> str:
        """The form in which SQLAlchemy writes it."""
        return f"mysql+pymysql://{USER}:{PASSWORD.replace('+', '%2B')}@127.0.0.1:{self.server.port}/{self.name}"

    def execute(self, *statements: str) -> list[dict[str, Any]]:
        """Run statements as the administrator and return the last one's rows."""
        return self.server.execute(*statements, database=self.name)


@dataclass
class Server:
    """A running server. Only this process's child is ever signalled, by its id."""

    folder: Path
    port: int = 0
    options: tuple[str, ...] = ()
    account: str = field(default_factory=getpass.getuser)
    """Whose rights the process has, when this one may choose."""
    _child: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @classmethod
    def create(cls, folder: Path, *options: str) -> "Server":
        """Make an empty data folder in `folder` and start a server on it."""
        server = cls(folder, free_port(), options)
        server.initialise()
        return server

    def initialise(self, *options: str) -> None:
        """Make an empty data folder and start on it, with options for this once."""
        self.make_data()
        self.start(*options)
        self.execute(
            f"CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}'",
            f"GRANT ALL ON `test\\_%`.* TO '{USER}'@'%'",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.kill()

    def database(self, name: str = "") -> Database:
        """Make an empty database; its name must begin with `test_`."""
        name = name or f"test_{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE `{name}`")
        return Database(self, name)

    def start(self, *options: str, timeout: float = 60.0) -> None:
        """Start on the same port and data, with options for this once, and wait until it answers."""
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                [
                    self._binary,
                    "--no-defaults",
                    f"--user={self.account}",
                    f"--datadir={self._data}",
                    f"--socket={self._socket}",
                    f"--pid-file={self.folder / 'pid'}",
                    f"--port={self.port}",
                    "--bind-address=127.0.0.1",
                    "--innodb-buffer-pool-size=32M",
                    "--innodb-flush-log-at-trx-commit=2",
                    "--skip-log-bin",
                    "--max-connections=500",
                    *self.options,
                    *options,
                ],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        deadline = time.monotonic() + timeout
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(str(self._socket))
                self.execute("SELECT 1")
            except (OSError, pymysql.err.OperationalError):
                if self._child.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"the database server did not start\n{self._log.read_text()}") from None
                time.sleep(0.05)
            else:
                return

    @property
    def running(self) -> bool:
        return self._child is not None

    def stop(self) -> None:
        """Shut down in order."""
        if self._child is not None:
            suspension.resume(self._child)
            self._child.terminate()
            self._wait()

    def kill(self) -> None:
        """Send SIGKILL."""
        if self._child is not None:
            self._child.kill()
            self._wait()

    def suspend(self) -> None:
        """Send SIGSTOP: connections stay open and nothing is answered."""
        if self._child is not None:
            suspension.suspend(self._child)

    def resume(self) -> None:
        """Send SIGCONT."""
        if self._child is not None:
            suspension.resume(self._child)

    def execute(
        self, *statements: str, database: str | None = None, timeout: float | None = None
    ) -> list[dict[str, Any]]:
        """Run statements as the administrator and return the last one's rows; each may take `timeout` seconds."""
        with self._session(database, timeout) as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    @contextmanager
    def locked(self, database: str, table: str) -> Iterator[None]:
        """Keep everyone else's statements on the table waiting."""
        with self._session(database) as cursor:
            cursor.execute(f"LOCK TABLES `{table}` WRITE")
            yield

    @contextmanager
    def transaction(self, database: str, *statements: str) -> Iterator[Callable[[], None]]:
        """Run statements in a transaction that stays open, and lend what rolls it back."""
        with self._session(database) as cursor:
            cursor.execute("START TRANSACTION")
            for statement in statements:
                cursor.execute(statement)
            yield cursor.connection.rollback

    @contextmanager
    def _session(self, database: str | None, timeout: float | None = None) -> Iterator[pymysql.cursors.DictCursor]:
        connection = pymysql.connect(
            unix_socket=str(self._socket),
            user="root",
            database=database,
            autocommit=True,
            read_timeout=timeout,
            cursorclass=pymysql.cursors.DictCursor,
            defer_connect=True,
        )
        with socket.socket(socket.AF_UNIX) as channel:  # PyMySQL leaves its own open when it cannot connect
            channel.settimeout(timeout)
            channel.connect(str(self._socket))
            connection.connect(channel)
            with connection.cursor() as cursor:
                yield cursor

    @property
    def _binary(self) -> str:
        binary = server_binary()
        assert binary is not None, "neither mariadbd nor mysqld is installed"
        return binary

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _socket(self) -> Path:
        return self.folder / "s"

    @property
    def _log(self) -> Path:
        return self.folder / "server.log"

    @property
    def _environment(self) -> dict[str, str]:
        # A server that starts, also one that only makes the data, deletes the temporary tables of others in its folder.
        return {**os.environ, "TMPDIR": str(self.folder)}

    def make_data(self) -> None:
        """Make an empty data folder."""
        install = shutil.which("mariadb-install-db", path=_SBIN)
        if install and Path(self._binary).resolve().name == "mariadbd":
            command = [
                install,
                "--no-defaults",
                f"--datadir={self._data}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                f"--user={self.account}",
            ]
        else:
            command = [
                self._binary,
                "--no-defaults",
                "--initialize-insecure",
                f"--datadir={self._data}",
                f"--user={self.account}",
            ]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def _wait(self) -> None:
        if self._child is not None:
            self._child.wait(60)
            self._child = None
