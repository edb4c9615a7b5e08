"""User services come and go under steady load."""

import httpx
import pytest

from tests.platform.conftest import account
from tests.support.platform import TTL, Platform, is_ready, sample
from tests.support.process import Process
from tests.support.traffic import Send, Traffic, post
from tests.support.wait import wait_until


def logins(platform: Platform) -> Traffic:
    return Traffic(post(platform.url, "/api/login", account()), rate=6)


def everything(platform: Platform) -> Send:
    """Return what sends a login, a registration of a new name, and two of a name that is taken, in turn."""

    async def send(client: httpx.AsyncClient, number: int) -> httpx.Response:
        path = "login" if number % 4 == 0 else "register"
        body = account(f"rolling_{number}") if number % 4 == 1 else account()
        return await client.post(f"{platform.url}/api/{path}", json=body)

    return send


def handled(process: Process) -> float:
    """How many calls of the service itself a user service has answered."""
    return sample(process, "grpc_server_handled_total", grpc_service="user.v1.UserService")


def test_each_user_service_gets_its_share(of_three: Platform) -> None:
    before = [handled(user) for user in of_three.users]
    with logins(of_three) as traffic:
        wait_until(
            lambda: all(handled(user) > was for user, was in zip(of_three.users, before, strict=True)),
            what="each to be connected",
        )
    assert not traffic.others(200), traffic.summary
    before = [handled(user) for user in of_three.users]
    with logins(of_three) as traffic:
        traffic.wait_for(15)
    shares = [handled(user) - was for user, was in zip(of_three.users, before, strict=True)]
    assert max(shares) - min(shares) <= 1
    assert not traffic.others(200), traffic.summary


@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL"])
def test_stopping_user_service_loses_no_login(of_three: Platform, end: str) -> None:
    victim = of_three.users[0]
    address = victim.target
    with logins(of_three) as traffic:
        traffic.wait_for(5)
        of_three.retire(victim)
        if end == "SIGTERM":
            victim.terminate()
            wait_until(lambda: address not in of_three.keys, 0.5, what="the key to be removed")
            assert victim.wait() == 0
        else:
            victim.kill()
            wait_until(lambda: address not in of_three.keys, TTL + 2, what="the lease to run out")
        traffic.wait_for(10)
    assert not traffic.others(200), traffic.summary


def test_hanging_user_service_is_unused_within_10_s(of_three: Platform) -> None:
    victim = of_three.users[0]
    with logins(of_three) as traffic:
        traffic.wait_for(5)
        of_three.retire(victim)
        victim.suspend()
        # round robin sends it one of three: fifteen in a row that do not wait for it are proof
        wait_until(
            lambda: len(last := traffic.sent[-15:]) == 15 and all(s.status == 200 and s.took < 3 for s in last),
            10,
            what="logins to avoid the one that hangs",
        )
        began = len(traffic.sent)
        traffic.wait_for(15)
        assert all(s.status == 200 for s in traffic.sent[began:]), traffic.summary


def test_new_user_service_gets_traffic_within_1_s(of_three: Platform) -> None:
    with Traffic(post(of_three.url, "/api/register", account()), rate=20) as traffic:
        newcomer = of_three.start_user()
        wait_until(lambda: is_ready(newcomer), 20, what="the newcomer to be ready")
        wait_until(lambda: handled(newcomer) > 0, 1, what="the newcomer to get calls")
    assert not traffic.others(409), traffic.summary
    of_three.retire(newcomer).terminate()
    assert newcomer.wait() == 0


def test_a_rolling_restart_loses_nothing(of_three: Platform) -> None:
    """Registrations are never sent twice, so none may go to one that will not answer it."""
    with Traffic(everything(of_three), rate=10) as traffic:
        for old in list(of_three.users):
            of_three.start_user()
            of_three.wait_until_ready()
            of_three.retire(old).terminate()
            assert old.wait() == 0
        traffic.wait_for(10)
    assert not traffic.others(200, 409), traffic.summary
