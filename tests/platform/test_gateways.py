"""Gateways come and go in front of a client that asks them whether they are ready, as a load balancer does."""

import itertools
import threading
from collections.abc import Callable

import httpx

from tests.platform.conftest import account
from tests.support.etcd import Etcd
from tests.support.platform import Platform, is_ready
from tests.support.process import Process
from tests.support.traffic import Traffic


class Balancer:
    """Knows which gateways were ready a moment ago."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._turn = itertools.count()
        self._ready: list[Process] = list(platform.gateways)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> "Balancer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    async def send(self, client: httpx.AsyncClient, number: int) -> httpx.Response:
        """Send a registration of a name that is taken, a profile or a ping to the next gateway that is ready."""
        ready = self._ready
        gateway = ready[next(self._turn) % len(ready)]
        url = f"http://127.0.0.1:{gateway.port}"
        if number % 3:
            return await client.post(f"{url}/api/register", json=account())
        return await client.get(f"{url}/ping")

    def _ask(self) -> None:
        while not self._over.wait(0.1):
            self._ready = [
                gateway for gateway in [*self._platform.gateways, *self._platform.ended] if is_ready(gateway)
            ]


def test_a_rolling_restart_of_gateways_loses_nothing(etcd: Etcd, make_platform: Callable[..., Platform]) -> None:
    platform = make_platform(etcd, gateways=2, env={"DRAIN_DELAY": "2"})
    with platform.client() as client:
        assert client.post("/api/register", json=account()).status_code == 200
    with Balancer(platform) as balancer, Traffic(balancer.send, rate=20) as traffic:
        for old in list(platform.gateways):
            platform.start_gateway()
            platform.wait_until_ready()
            platform.retire(old).terminate()
            assert old.wait() == 0
        traffic.wait_for(20)
    assert not traffic.others(200, 409), traffic.summary
