"""A process of its own, as a service is one."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.support.etcd import Etcd
from tests.support.wait import wait_until

TTL = 3
BUSY = 0.15
"""Of one core. A thread that spins takes all of it; this code takes 0.01."""


@pytest.fixture
def idle(own_etcd: Etcd) -> Iterator[psutil.Process]:
    proxies = {"http_proxy": "http://127.0.0.1:1", "no_proxy": ""}  # for the way out, not for etcd
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.service_kit.registry.idle", own_etcd.endpoint, str(TTL)], env=os.environ | proxies
    )
    try:
        wait_until(own_etcd.keys)
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def busy(process: psutil.Process, duration: float) -> float:
    """Return the share of one core that `process` takes over some seconds."""
    before, began = process.cpu_times(), time.monotonic()
    wait_until(lambda: time.monotonic() - began >= duration, duration + 5, interval=0.1)
    after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / (time.monotonic() - began)


def test_it_is_idle_whatever_etcd_does(own_etcd: Etcd, idle: psutil.Process) -> None:
    stays_idle(own_etcd, idle, 1)


@pytest.mark.faults
def test_it_is_idle_for_long(own_etcd: Etcd, idle: psutil.Process) -> None:
    stays_idle(own_etcd, idle, 30)


def stays_idle(etcd: Etcd, process: psutil.Process, duration: float) -> None:
    found = etcd.keys()
    shares = {"while all is well": busy(process, TTL + duration)}
    assert etcd.keys() == found, "and kept its lease without writing anything"
    etcd.suspend()
    shares["while etcd hangs"] = busy(process, duration)
    etcd.resume()
    etcd.kill()
    shares["while etcd is down"] = busy(process, duration)
    threads, files = process.num_threads(), process.num_fds()
    assert max(shares.values()) < BUSY, shares
    etcd.start()
    wait_until(etcd.keys)
    assert process.num_threads() < threads + 20
    assert process.num_fds() < files + 20


def test_killed_process_leaves_nothing_beyond_its_ttl(own_etcd: Etcd, idle: psutil.Process) -> None:
    idle.kill()
    wait_until(lambda: not own_etcd.keys() and not own_etcd.leases(), TTL + 2)
