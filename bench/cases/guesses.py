"""Guesses of one user's password by the hundred: what is hashed, and how long its owner and others wait meanwhile."""

import itertools
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import httpx

from bench.processes import CREDENTIALS, Service, service
from bench.rates import Extent
from bench.report import Figure, at_most
from gateway_svc.users_client import LOGIN_DEADLINE
from protos.user.v1 import user_pb2, user_pb2_grpc
from user_svc.throttle import FREE

COST = 14
GUESSES = 500
INSTANCES = 3
WINDOWS = 3
"""Of 1, 2 and 4 s: tries that a throttled name is allowed while the calls wait, at most."""
OWNER, OTHER = CREDENTIALS["username"], "bench_other"
_HASHES = re.compile(r"^password_hash_seconds_count (\S+)", re.MULTILINE)


def measure(folder: Path, _extent: Extent) -> list[Figure]:
    """Guess twice, before and after the name is throttled; there is no shorter form."""
    env = {"BCRYPT_COST": str(COST), "HASH_SLOTS": "1", "DATA_DIR": str(folder / "guesses")}
    with ExitStack() as stack:
        instances = [stack.enter_context(service("user_svc", folder, env)) for _ in range(INSTANCES)]
        for instance in instances:
            instance.until_ready()
        channels = [stack.enter_context(grpc.insecure_channel(instance.target)) for instance in instances]
        return _guess(instances, [user_pb2_grpc.UserServiceStub(channel) for channel in channels])


def _guess(instances: list[Service], stubs: list[user_pb2_grpc.UserServiceStub]) -> list[Figure]:
    password = CREDENTIALS["password"]
    owner, _ = (
        stubs[0].Register(user_pb2.RegisterRequest(username=name, password=password), timeout=10)
        for name in (OWNER, OTHER)
    )
    device = user_pb2.Device(user_id=owner.user_id, generation=0, id=secrets.token_bytes(16))
    turns = itertools.cycle(stubs)

    def log_in(name: str, device: user_pb2.Device | None = None) -> float:
        """Log in as clients do, again after each refusal; return the seconds that it took."""
        request = user_pb2.LoginRequest(username=name, password=password, device=device)
        began = time.monotonic()
        while time.monotonic() - began < 60:
            try:
                if next(turns).Login(request, timeout=LOGIN_DEADLINE).code == 200:
                    return time.monotonic() - began
            except grpc.RpcError:
                time.sleep(0.1)
        raise RuntimeError(f"{name} could not log in for a minute")

    usual = median(log_in(OTHER) for _ in range(5))
    figures = []
    for state, allowed in (("none counted yet", FREE + INSTANCES - 1), ("throttled", WINDOWS)):
        if state == "throttled":
            _throttle(turns)
        hashed, logins = _hashes(instances), 0
        calls: list[Any] = [
            next(turns).Login.future(
                user_pb2.LoginRequest(username=OWNER, password=f"wrong-{n}"), timeout=LOGIN_DEADLINE
            )
            for n in range(GUESSES)
        ]
        waits: dict[str, float] = {}
        tries: dict[str, Callable[[], float]] = {
            "the owner with a device token": lambda: log_in(OWNER, device),
            "another user": lambda: log_in(OTHER),
        }
        for who, attempt in tries.items():
            waits[who] = attempt()
            logins += 1
        for call in calls:
            call.exception()
        title = f"{GUESSES} guesses at once, {state}"
        guessed = _hashes(instances) - hashed - logins
        figures.append(at_most(f"{title}: guesses hashed", guessed, allowed, "", f"by {INSTANCES} instances"))
        figures += [
            at_most(f"{title}: {who} is in after", seconds, 2, "s", f"{usual:.2f} s without guesses")
            for who, seconds in waits.items()
        ]
    return figures


def _throttle(turns: Iterator[user_pb2_grpc.UserServiceStub]) -> None:
    """Guess until the owner's name is throttled."""
    for _ in range(10 * FREE):
        try:
            next(turns).Login(user_pb2.LoginRequest(username=OWNER, password="wrong-password"), timeout=LOGIN_DEADLINE)
        except grpc.RpcError as error:
            call: Any = error
            if dict(call.trailing_metadata()).get("refusal") == "throttled":
                return
    raise RuntimeError("the name was not throttled")


def _hashes(instances: list[Service]) -> float:
    texts = [httpx.get(f"{instance.admin_url}/metrics").text for instance in instances]
    return sum(float(count) for text in texts for count in _HASHES.findall(text))
