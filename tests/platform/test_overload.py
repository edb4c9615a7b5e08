"""More logins at once than the cores can check before their callers give up."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import httpx
import pytest

from tests.platform.conftest import account
from tests.support.etcd import Etcd
from tests.support.platform import Platform, admin
from tests.support.traffic import Traffic

LOGINS = 150
BUSY = '{"code":503,"msg":"服务繁忙，请稍后重试"}'.encode()


@pytest.mark.faults
@pytest.mark.exclusive  # other load after the admission makes hashes late that were planned in time
def test_logins_are_refused_at_once_or_served(etcd: Etcd, make_platform: Callable[..., Platform]) -> None:
    platform = make_platform(etcd, env={"BCRYPT_COST": "14"})
    (user,) = platform.users
    with platform.client(limits=httpx.Limits(max_connections=LOGINS)) as client:
        assert client.post("/api/register", json=account()).status_code == 200

        async def ping(pinging: httpx.AsyncClient, _: int) -> httpx.Response:
            return await pinging.get(f"{platform.url}/ping")

        order: list[httpx.Response] = []

        def login(_: int) -> None:
            order.append(client.post("/api/login", json=account()))

        with Traffic(ping, rate=10, timeout=3) as pings, ThreadPoolExecutor(LOGINS) as threads:
            logins = [threads.submit(login, number) for number in range(LOGINS)]
            while wait(logins, timeout=0.2).not_done:
                assert admin(user, "/livez").status_code == 200
                assert admin(platform.gateways[0], "/livez").status_code == 200
        for done in logins:
            done.result()
        assert not pings.others(200), pings.summary

        served = [answer for answer in order if answer.status_code == 200]
        refused = [answer for answer in order if answer.content == BUSY and int(answer.headers["retry-after"]) > 0]
        assert len(refused) > LOGINS / 2
        assert len(served) + len(refused) == LOGINS
        # at once: those that are refused do not wait behind those that are served
        assert all(answer.status_code == 503 for answer in order[: LOGINS // 2])
        # admitted is served: no call is refused after waiting in the queue
        waited = len(served) - (os.cpu_count() or 1)
        assert waited > 0
        assert all(answer.status_code == 200 for answer in order[-waited:])

        assert client.post("/api/login", json=account()).status_code == 200
