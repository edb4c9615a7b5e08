"""Logins: what of the cores' raw bcrypt is left, and whether the time of an answer tells a user."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import bcrypt
import grpc
import httpx
from scipy.stats import wilcoxon

from bench.processes import CREDENTIALS, platform
from bench.rates import Extent
from bench.report import Figure, at_least
from protos.user.v1 import user_pb2, user_pb2_grpc

COST = 14
CORES = os.cpu_count() or 1
NAME, PASSWORD = CREDENTIALS["username"], CREDENTIALS["password"].encode()


def measure(folder: Path, extent: Extent) -> list[Figure]:
    """Count logins beside raw hashes, then time known and unknown users."""
    return [_throughput(folder, extent), _timing(folder, extent)]


def _throughput(folder: Path, extent: Extent) -> Figure:
    seconds = extent.seconds * 4.0
    hashed = bcrypt.hashpw(PASSWORD, bcrypt.gensalt(COST))
    raw, logins = [], []
    with platform(folder, bcrypt_cost=COST) as (_, gateway), httpx.Client(base_url=gateway.url, timeout=30) as client:

        def log_in() -> bool:
            return client.post("/api/login", json=CREDENTIALS).status_code == 200

        for _ in range(max(1, extent.rounds // 3)):
            raw.append(_rate(lambda: bcrypt.checkpw(PASSWORD, hashed), CORES, seconds))
            # one more caller than cores, so that a core need not wait for a caller
            logins.append(_rate(log_in, CORES + 1, seconds))
    return at_least(
        f"logins a second at cost {COST} / raw bcrypt on {CORES} cores",
        median(ours / theirs for ours, theirs in zip(logins, raw, strict=True)),
        0.98,
        detail=f"{median(logins):.2f} against {median(raw):.2f} a second; {len(raw)} interleaved rounds",
    )


def _rate(check: Callable[[], bool], callers: int, seconds: float) -> float:
    """Let each caller check for `seconds` and count whole checks over the time that they took."""
    end = time.monotonic() + seconds

    def one_caller() -> float:
        began, done = time.monotonic(), 0
        while time.monotonic() < end:
            if not check():
                raise RuntimeError("a check of the right password failed")
            done += 1
        return done / (time.monotonic() - began)

    with ThreadPoolExecutor(callers) as pool:
        return sum(running.result() for running in [pool.submit(one_caller) for _ in range(callers)])


def _timing(folder: Path, extent: Extent) -> Figure:
    """Unknown users and wrong passwords in turn; a cost of 10 makes a difference easier to see, not harder."""
    with platform(folder, bcrypt_cost=10) as (users, _), grpc.insecure_channel(users.target) as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)

        def timed(name: str) -> float:
            began = time.perf_counter()
            if stub.Login(user_pb2.LoginRequest(username=name, password="wrong-password"), timeout=10).code != 401:
                raise RuntimeError("a wrong password was accepted")
            return time.perf_counter() - began

        pairs = []
        for turn in range(extent.rounds * 22):
            order = [NAME, f"nobody_{turn}"][:: 1 if turn % 2 else -1]
            taken = {name == NAME: timed(name) for name in order}
            pairs.append((taken[True], taken[False]))
    known, unknown = zip(*pairs, strict=True)
    medians = f"medians {median(known) * 1e3:.2f} ms known, {median(unknown) * 1e3:.2f} ms unknown"
    return at_least(
        "known or unknown user: p-value of the difference in time",
        float(wilcoxon(known, unknown).pvalue),
        0.01,
        "",
        f"{medians}; {len(pairs)} interleaved pairs",
    )
