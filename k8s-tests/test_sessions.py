"""Sessions on a cluster: the key that signs tokens is rotated as the page says, and clients notice nothing."""

import re
from functools import partial

import pytest
from conftest import Record
from support.cluster import wait_until
from support.namespace import CHARTS
from support.platform import Platform

PAGE = (CHARTS.parent / "docs" / "secrets.md").read_text()
STEADY = {"login": 2.0, "profile": 10.0, "session_profile": 10.0, "refresh": 1.0}
"""Requests a second."""
TAKEN = re.compile(r'^key_reloads_total\{result="taken"\} (\d+)', re.MULTILINE)


@pytest.mark.faults
def test_key_rotation_refuses_no_request(platform: Platform, figures: Record) -> None:
    pods = [pod["metadata"]["name"] for pod in platform.namespace.live("gateway-svc")]
    before = {pod: reloads(platform, pod) for pod in pods}
    (section,) = re.findall(r"\*\*To rotate the JWT key\*\*(.*?)\n\*\*To change", PAGE, re.DOTALL)
    steps = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)

    def perform(number: int) -> None:
        platform.namespace.shell(steps[number - 1])
        for pod in pods:
            wait_until(partial(has_read, platform, pod, before[pod] + number), 180, what=f"{pod} to read the keys")

    with platform.traffic(**STEADY) as traffic:
        for number in (1, 2):
            perform(number)
            traffic.wait_for(60)
    figures("the JWT key rotated", traffic.summary)
    assert traffic.lost() == []
    token = platform.login(platform.register())
    perform(3)  # 14 days later, when what the old key signed has expired
    assert platform.profile(token)["status"] == 200


def reloads(platform: Platform, pod: str) -> int:
    """Return how often a gateway has taken new keys."""
    found = TAKEN.search(platform.metrics(pod))
    assert found
    return int(found[1])


def has_read(platform: Platform, pod: str, times: int) -> bool:
    """Have the kubelet look at the Secret, which it does each minute or so by itself, and ask the gateway."""
    platform.namespace.shell(f"kubectl annotate pod {pod} --overwrite video-platform/look=$(date +%s.%N)")
    return reloads(platform, pod) >= times
