"""The whole platform on private ports: user services and gateways that find each other through a real etcd."""

import secrets
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.etcd import Etcd
from tests.support.process import Process
from tests.support.wait import wait_until

TTL = 2
"""Seconds that a lost instance stays registered: short, so that outages can be short."""


class Platform:
    """User services and gateways on one etcd, under a registry prefix of their own; use it as a context manager.

    The user services share one SQLite file, unless `env` names another database. What is started later with
    `start_user` and `start_gateway` is ended with the rest.
    """

    def __init__(
        self, etcd: Etcd, folder: Path, *, users: int = 1, gateways: int = 1, env: Mapping[str, str] | None = None
    ) -> None:
        self.etcd = etcd
        self.prefix = f"test/{secrets.token_hex(8)}"
        self.jwt_secret = secrets.token_hex(32)
        self.users: list[Process] = []
        self.gateways: list[Process] = []
        self.ended: list[Process] = []
        self.folder = folder
        self._counts = (users, gateways)
        self._env = {
            "ETCD_ADDRESS": etcd.endpoint,
            "REGISTRY_PREFIX": self.prefix,
            "REGISTRY_TTL": str(TTL),
            "JWT_SECRET": self.jwt_secret,
            "DATA_DIR": str(folder),
            **(env or {}),
        }

    def __enter__(self) -> Self:
        users, gateways = self._counts
        try:
            # all at once: each takes a second or two of a core to begin
            for _ in range(users):
                self.start_user()
            for _ in range(gateways):
                self.start_gateway()
            self.wait_until_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
        if error is not None:
            error.add_note(self.output)

    def start_user(self, **env: str) -> Process:
        """Start one more user service; it may not listen yet."""
        process = Process("user_svc", env={**self._env, **env}, cwd=self.folder)
        self.users.append(process)
        return process

    def start_gateway(self, **env: str) -> Process:
        """Start one more gateway; it may not listen yet."""
        process = Process("gateway_svc", env={**self._env, **env}, cwd=self.folder)
        self.gateways.append(process)
        return process

    def retire(self, process: Process) -> Process:
        """Take a process that a test ends out of `users` or `gateways`; its output stays."""
        (self.users if process in self.users else self.gateways).remove(process)
        self.ended.append(process)
        return process

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Wait until every process is ready and every gateway has all user services."""
        for process in [*self.users, *self.gateways]:
            process.wait_for("listening", timeout)
            wait_until(partial(is_ready, process), timeout, what=f"{process.module} to be ready")
        for gateway in self.gateways:
            wait_until(
                partial(self._is_complete, gateway),
                timeout,
                what="the gateway to know all user services",
            )

    def _is_complete(self, gateway: Process) -> bool:
        return sample(gateway, "registry_endpoints") >= len(self.users)

    @property
    def url(self) -> str:
        """Where the first gateway answers."""
        return f"http://127.0.0.1:{self.gateways[0].port}"

    @property
    def keys(self) -> dict[str, int]:
        """The registered addresses and their leases."""
        prefix = f"{self.prefix}/user/"
        return {key.removeprefix(prefix): held.lease for key, held in self.etcd.keys(prefix).items()}

    @property
    def output(self) -> str:
        """What every process has written, those that ended included."""
        processes = [*self.ended, *self.users, *self.gateways]
        return "\n".join(f"--- {process.module} {process.pid}\n{process.output}" for process in processes)

    def client(self, **options: Any) -> httpx.Client:
        """Return a client of the first gateway."""
        return httpx.Client(base_url=self.url, timeout=15, trust_env=False, **options)

    def close(self) -> None:
        """End every process."""
        for process in [*self.gateways, *self.users, *self.ended]:
            process.resume() if process.running else None
            process.close()


def is_ready(process: Process) -> bool:
    """Whether the process says so on its admin port."""
    return admin(process, "/readyz").status_code == 200


def admin(process: Process, path: str) -> httpx.Response:
    """Ask a process on its admin port; a port that does not answer is a 503."""
    try:
        return httpx.get(f"http://127.0.0.1:{process.admin_port}{path}", timeout=5, trust_env=False)
    except httpx.TransportError:
        return httpx.Response(503)


def sample(process: Process, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples that carry `labels`."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(admin(process, "/metrics").text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
