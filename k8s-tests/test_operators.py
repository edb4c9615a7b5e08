"""The operators' commands in a pod of the user service, and how soon gateways know of them."""

import json
from functools import partial

from support.cluster import wait_until
from support.platform import Platform

USERS = "kubectl exec -i deployment/vp-user-svc -- python -m user_svc users"
NOTICED = 5
"""Seconds: two for gateways to learn of it, and what a request takes from a pod."""


def users(platform: Platform, command: str) -> str:
    """Run a command and return what it prints."""
    return platform.namespace.shell(f"{USERS} {command} 2>&1")


def status(platform: Platform, token: str) -> int:
    """Return the status of the profile's answer."""
    answer: int = platform.profile(token)["status"]
    return answer


def is_refused(platform: Platform, token: str) -> bool:
    """Whether every one of a few requests, which go to all gateways, is refused."""
    return {answer["status"] for answer in platform.profiles(token, 6)} == {401}


def test_a_disabled_user_is_out_at_every_gateway(platform: Platform) -> None:
    name = platform.register()
    token = platform.login(name)
    assert status(platform, token) == 200
    assert "is disabled, and logged out everywhere" in users(platform, f"disable {name}")
    wait_until(partial(is_refused, platform, token), NOTICED, what="gateways to refuse the token")
    assert f'"{name}"' in users(platform, "list --state disabled --json")
    users(platform, f"enable {name}")
    assert status(platform, platform.login(name)) == 200


def test_a_password_is_reset_through_standard_input(platform: Platform) -> None:
    name, password = platform.register(), "ripe-avocado"
    token = platform.login(name)
    refused = platform.namespace.shell(f"{USERS} reset-password {name} --stdin --yes < /dev/null 2>&1 || true")
    assert "there is no password on standard input" in refused
    platform.namespace.shell(f"echo {password} | {USERS} reset-password {name} --stdin --yes")
    wait_until(partial(is_refused, platform, token), NOTICED, what="gateways to refuse the token")
    answer = platform.post("/api/login", {"username": name, "password": password})
    assert (answer["status"], json.loads(answer["body"])["code"]) == (200, 200)
