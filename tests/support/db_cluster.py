"""Clusters of database servers behind HAProxy: Galera, and a primary with a replica."""

import getpass
import math
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

import pymysql
import pytest

from tests.support.etcd import free_port
from tests.support.mariadb import PASSWORD, USER, Server
from tests.support.proxies import haproxy_tcp
from tests.support.wait import wait_until

GALERA = Path("/usr/lib/galera/libgalera_smm.so")

_ACCOUNT = "mysql"
"""The one that Debian's package makes."""

_CHECK_INTERVAL = 0.5
_CHECK_TIMEOUT = 2.0
"""Seconds; a server must not count as lost because the cores are busy."""

IsUsable = Callable[[Server], bool]


def is_synced(node: Server) -> bool:
    """Whether a Galera node accepts statements: neither without quorum nor busy with a state transfer."""
    return status(node, "wsrep_ready") == "ON" and status(node, "wsrep_local_state") == "4"


def is_writable(server: Server) -> bool:
    """Whether a server of a replication is the primary."""
    return bool(server.execute("SELECT @@read_only = 0 AS writable", timeout=_CHECK_TIMEOUT)[0]["writable"])


def status(node: Server, name: str) -> str:
    """Return one of the server's status variables."""
    rows = node.execute(f"SHOW GLOBAL STATUS LIKE '{name}'", timeout=_CHECK_TIMEOUT)
    return str(rows[0]["Value"]) if rows else ""


@contextmanager
def galera(size: int = 3) -> Iterator[list[Server]]:
    """Run a Galera cluster; its nodes notice within 2 s when one is lost."""
    if not GALERA.exists():
        pytest.skip(f"{GALERA} is not there; on Debian and Ubuntu: apt install galera-4 rsync")
    ports = [free_port() for _ in range(size)]
    peers = "gcomm://" + ",".join(f"127.0.0.1:{port}" for port in ports)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        nodes = [_node(folder / f"n{number}", port, peers) for number, port in enumerate(ports)]
        for node in nodes:
            stack.callback(node.kill)
        nodes[0].initialise("--wsrep-new-cluster")
        for node in nodes[1:]:
            node.start()
        yield nodes


def _node(folder: Path, port: int, peers: str) -> Server:
    transfer = free_port()
    provider = {
        "base_host": "127.0.0.1",
        "base_port": port,
        "gmcast.listen_addr": f"tcp://127.0.0.1:{port}",
        "ist.recv_addr": f"127.0.0.1:{free_port()}",
        "gcache.size": "16M",
        "evs.keepalive_period": "PT0.5S",
        "evs.inactive_check_period": "PT0.5S",
        "evs.suspect_timeout": "PT2S",
        "evs.inactive_timeout": "PT4S",
    }
    # Started by root, rsync's daemon would write as nobody, who may not.
    account = _ACCOUNT if os.geteuid() == 0 else getpass.getuser()
    (folder / "data").mkdir(parents=True)
    for path in (folder, folder / "data"):
        shutil.chown(path, account)
    return Server(
        folder,
        free_port(),
        (
            "--wsrep-on=ON",
            f"--wsrep-provider={GALERA}",
            f"--wsrep-cluster-address={peers}",
            "--wsrep-cluster-name=test",
            f"--wsrep-node-address=127.0.0.1:{port}",
            "--wsrep-sst-method=rsync",
            f"--wsrep-sst-receive-address=127.0.0.1:{transfer}",
            f"--wsrep-provider-options={';'.join(f'{name}={value}' for name, value in provider.items())}",
            "--binlog-format=ROW",
            "--default-storage-engine=InnoDB",
            "--innodb-autoinc-lock-mode=2",
        ),
        account,
    )


def start_all(servers: Sequence[Server]) -> None:
    """Start servers that wait for each other."""
    with ThreadPoolExecutor() as threads:
        list(threads.map(Server.start, servers))


@contextmanager
def behind_haproxy(folder: Path, servers: Sequence[Server], is_usable: IsUsable) -> Iterator[int]:
    """Run HAProxy over those servers that `is_usable`, and yield its port."""
    with ExitStack() as stack:
        targets = {server.port: stack.enter_context(_agent(server, is_usable)) for server in servers}
        yield stack.enter_context(haproxy_tcp(folder, targets))


@contextmanager
def _agent(server: Server, is_usable: IsUsable) -> Iterator[int]:
    """Answer GET / by 200 while the server is usable, else by 503, and yield the port."""
    usable_at = -math.inf
    over = threading.Event()

    def watch() -> None:
        nonlocal usable_at
        while not over.wait(_CHECK_INTERVAL):
            asked_at = time.monotonic()
            with suppress(OSError, pymysql.MySQLError):
                usable_at = asked_at if is_usable(server) else -math.inf

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the library's name
            self.send_response(200 if time.monotonic() - usable_at < _CHECK_TIMEOUT + _CHECK_INTERVAL else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as agent:
        threads = [
            threading.Thread(target=agent.serve_forever, name="agent", daemon=True),
            threading.Thread(target=watch, name="agent's watch", daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            yield agent.server_port
        finally:
            over.set()
            agent.shutdown()
            for thread in threads:
                thread.join()


class Replication:
    """A primary and a replica that acknowledges each commit before a client is told; use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.servers = [self._server(folder / name) for name in "ab"]
        self._primary = 0
        self._ids = count(1)

    def __enter__(self) -> Self:
        self.primary.initialise(self._new_id())
        self.primary.execute(f"GRANT REPLICATION SLAVE ON *.* TO '{USER}'@'%'")
        self.rebuild_replica()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for server in self.servers:
            server.kill()

    @property
    def primary(self) -> Server:
        return self.servers[self._primary]

    @property
    def replica(self) -> Server:
        return self.servers[1 - self._primary]

    def demote(self, primary: Server) -> None:
        """Accept no more writes, and wait until the replica has all."""
        primary.execute("SET GLOBAL read_only = 1")
        self.wait_until_in_step()

    def fail_over(self) -> None:
        """Make the replica the primary; HAProxy sends no connection to the old one."""
        replica = self.replica
        replica.execute("STOP SLAVE IO_THREAD")
        wait_until(lambda: _applied(replica), 10, what="the replica to apply what it has received")
        replica.execute("STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only = 0")
        self._primary = 1 - self._primary

    def rebuild_replica(self) -> None:
        """End the server that is not the primary and make an empty one a replica in its place."""
        replica, primary = self.replica, self.primary
        replica.kill()
        shutil.rmtree(replica.folder, ignore_errors=True)
        replica.folder.mkdir()
        replica.make_data()
        replica.start(self._new_id(), "--read-only=1")
        replica.execute(
            f"CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {primary.port}, MASTER_USER = '{USER}',"
            f" MASTER_PASSWORD = '{PASSWORD}', MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1",
            "START SLAVE",
        )
        self.wait_until_in_step()
        wait_until(lambda: status(primary, "Rpl_semi_sync_master_status") == "ON", 20)

    def wait_until_in_step(self) -> None:
        """Wait until the replica has what the primary had a moment ago."""
        position = self.primary.execute("SELECT @@gtid_binlog_pos AS position")[0]["position"]
        query = f"SELECT MASTER_GTID_WAIT('{position}', 30) AS failed"
        assert self.replica.execute(query)[0]["failed"] == 0

    def _new_id(self) -> str:
        return f"--server-id={next(self._ids)}"  # what comes from a replica's own id it would not apply

    @staticmethod
    def _server(folder: Path) -> Server:
        options = [
            "--log-bin=binlog",
            "--log-slave-updates",
            "--sync-binlog=1",
            "--innodb-flush-log-at-trx-commit=1",
            "--rpl-semi-sync-master-enabled=ON",
            "--rpl-semi-sync-slave-enabled=ON",
            "--rpl-semi-sync-master-wait-point=AFTER_SYNC",
            "--rpl-semi-sync-master-wait-no-slave=OFF",
            "--rpl-semi-sync-master-timeout=60000",
        ]
        folder.mkdir()
        return Server(folder, free_port(), tuple(options))


def _applied(replica: Server) -> bool:
    received = replica.execute("SHOW SLAVE STATUS")[0]["Gtid_IO_Pos"]
    return bool(replica.execute(f"SELECT MASTER_GTID_WAIT('{received}', 1) AS failed")[0]["failed"] == 0)
