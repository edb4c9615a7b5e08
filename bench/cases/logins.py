"""Logins: what of the cores' raw bcrypt is left, and whether the time of an answer tells a user."""

import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
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
from user_svc.config import SQLITE_FILE
from user_svc.throttle import FREE, LONGEST, key_of

COST = 14
CORES = os.cpu_count() or 1
NAME, PASSWORD = CREDENTIALS["username"], CREDENTIALS["password"].encode()


def measure(folder: Path, extent: Extent) -> list[Figure]:
    """Count logins beside raw hashes, then time known and unknown users."""
    return [_throughput(folder, extent), *_timing(folder, extent)]


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


_STATES = {
    "no wrong password yet": 0,
    "some wrong passwords": FREE // 2,
    "throttled, and the next try is due": FREE + 8,
    "throttled": FREE + 8,
}
"""The wrong passwords of a name before each try."""
_DUE, _JUST_NOW = 2 * LONGEST, -LONGEST
"""Milliseconds since the last one."""


def _timing(folder: Path, extent: Extent) -> list[Figure]:
    """Unknown users and wrong passwords in turn; a cost of 10 makes a difference easier to see, not harder."""
    figures = []
    with (
        platform(folder, bcrypt_cost=10) as (users, _),
        grpc.insecure_channel(users.target) as channel,
        closing(sqlite3.connect(_newest_database(folder), timeout=10, isolation_level=None)) as database,
    ):
        stub = user_pb2_grpc.UserServiceStub(channel)

        def timed(name: str, failures: int, elapsed: int, expected: object) -> float:
            values = (key_of(name), failures, int(time.time() * 1000) - elapsed)
            database.execute("DELETE FROM login_failures")
            if failures:
                database.execute("INSERT INTO login_failures VALUES (?, ?, ?)", values)
            began = time.perf_counter()
            outcome: object
            try:
                outcome = stub.Login(user_pb2.LoginRequest(username=name, password="wrong-password"), timeout=10).code
            except grpc.RpcError as error:
                outcome = error.code()
            taken = time.perf_counter() - began
            if outcome != expected:
                raise RuntimeError(f"a wrong password was answered with {outcome}")
            return taken

        for state, failures in _STATES.items():
            is_refused = state == "throttled"
            expected = grpc.StatusCode.RESOURCE_EXHAUSTED if is_refused else 401
            pairs = []
            for turn in range(extent.rounds * 23):
                order = [NAME, f"nobody_{turn}"][:: 1 if turn % 2 else -1]
                taken = {
                    name == NAME: timed(name, failures, _JUST_NOW if is_refused else _DUE, expected) for name in order
                }
                pairs.append((taken[True], taken[False]))
            figures.append(_difference(state, pairs))
    return figures


def _newest_database(folder: Path) -> Path:
    return max(folder.glob(f"*/{SQLITE_FILE}"), key=lambda path: path.stat().st_mtime_ns)


def _difference(state: str, pairs: list[tuple[float, float]]) -> Figure:
    known, unknown = zip(*pairs, strict=True)
    medians = f"medians {median(known) * 1e3:.2f} ms known, {median(unknown) * 1e3:.2f} ms unknown"
    return at_least(
        f"known or unknown user, {state}: p-value of the difference in time",
        float(wilcoxon(known, unknown).pvalue),
        0.01,
        "",
        f"{medians}; {len(pairs)} interleaved pairs",
    )
