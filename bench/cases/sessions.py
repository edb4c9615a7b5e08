"""Sessions: what their tokens and revocations cost a profile, and what refreshes leave of the database's updates."""

import itertools
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import pymysql

from bench import rates, tokens, wrk
from bench.processes import CLIENT_CORE, gateway, service
from bench.rates import Extent, compare, in_turn
from bench.report import Figure, at_least, at_most
from bench.wrk import Request
from protos.user.v1 import user_pb2, user_pb2_grpc
from tests.support.mariadb import PASSWORD, USER, Database, Server

TOKENS = 1_000
REVOCATIONS = 100_000
CALLERS = 32
REFRESHES = 1_500
"""Of as many sessions, per second of load, so that none is refreshed twice within the grace period."""


def measure(folder: Path, extent: Extent) -> list[Figure]:
    """Load gateways with both kinds of token, then a user service with refreshes."""
    return [*_profiles(folder, extent), _refreshes(folder, extent)]


def _profiles(folder: Path, extent: Extent) -> list[Figure]:
    with ExitStack() as stack:
        users, revoking = (
            stack.enter_context(service("bench.users_stub", folder, env, core=CLIENT_CORE))
            for env in ({}, {"REVOCATIONS": str(REVOCATIONS)})
        )
        serving = stack.enter_context(gateway(folder, users.target))
        told = stack.enter_context(gateway(folder, revoking.target))
        kinds = {
            "ES256": Request("/api/profile", tokens=tokens.write_of_sessions(folder, TOKENS)),
            "HS256": Request("/api/profile", tokens=tokens.write(folder, TOKENS)),
        }
        measured: dict[str, list[float]] = {kind: [] for kind in kinds}
        for kind, request in in_turn(kinds, extent.rounds):
            measured[kind].append(rates.load(serving, request, folder, extent)[0])
        ratio, detail = compare(measured["ES256"], measured["HS256"])
        slowest: dict[str, list[float]] = {"none": [], "known": []}
        for name, side in in_turn({"none": serving, "known": told}, extent.rounds):
            load = wrk.run(side.url, kinds["ES256"], folder, seconds=extent.seconds * 2, connections=16, pause_ms=10)
            slowest[name].append(load.p99_ms)
            side.take_log()
        grown = told.resident_mib() - serving.resident_mib()
    p99 = median(known / none for known, none in zip(slowest["known"], slowest["none"], strict=True))
    medians = (
        f"{median(slowest['known']):.2f} against {median(slowest['none']):.2f} ms; {grown:.0f} MiB more are resident"
    )
    return [
        at_least(f"GET /api/profile, {TOKENS:,} tokens, ES256 / HS256", ratio, 0.9, detail=detail),
        at_most(f"GET /api/profile, p99 with {REVOCATIONS:,} revocations / with none", p99, 1.1, "x", medians),
    ]


def _refreshes(folder: Path, extent: Extent) -> Figure:
    count = REFRESHES * extent.seconds
    ids = [secrets.token_bytes(16) for _ in range(count)]
    ours: list[float] = []
    bare: list[float] = []
    with ExitStack() as stack:
        server = stack.enter_context(Server.create(folder / "mariadb"))
        database = server.database()
        users = stack.enter_context(service("user_svc", folder, {"DB_DSN": database.go_dsn, "BCRYPT_COST": "10"}))
        users.until_ready()
        channel = stack.enter_context(grpc.insecure_channel(users.target))
        stub = user_pb2_grpc.UserServiceStub(channel)
        stub.Register(user_pb2.RegisterRequest(username="bench_user", password="password123"), timeout=10)
        _open(database, ids)

        def refresh(ids: list[bytes]) -> None:
            for each in ids:
                request = user_pb2.RefreshSessionRequest(session_id=each, serial=1)
                answer = stub.RefreshSession(request, timeout=6)
                if (answer.code, answer.serial) != (200, 2):
                    raise RuntimeError(f"a refresh was answered {answer}")

        def update(ids: list[bytes]) -> None:
            with _connected(database) as connection, connection.cursor() as cursor:
                for each in ids:
                    if cursor.execute(_UPDATE, (each,)) != 1:
                        raise RuntimeError("an update changed no row")

        for side, rate in itertools.islice(itertools.cycle(((refresh, ours), (update, bare))), 2 * extent.rounds):
            _age(database)
            rate.append(_rate(side, ids))
    return at_least(
        f"RefreshSession over gRPC on MariaDB / bare conditional updates by {CALLERS} connections",
        median(x / y for x, y in zip(ours, bare, strict=True)),
        0.5,
        detail=f"{median(ours):,.0f} against {median(bare):,.0f} a second; {len(ours)} interleaved rounds",
    )


_UPDATE = (
    "UPDATE sessions SET serial = serial + 1, previous = 1, rotated_at = UNIX_TIMESTAMP(NOW(3)) * 1000, "
    "used_at = UNIX_TIMESTAMP(NOW(3)) * 1000 WHERE id = %s AND serial = 1 AND ended_at IS NULL"
)


def _open(database: Database, ids: list[bytes]) -> None:
    with _connected(database) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO sessions (id, user_id, generation, serial, previous, device, created_at, rotated_at, used_at, "
            "expires_at) VALUES (%s, 1, 0, 1, 0, '', 0, 0, 0, 9000000000000)",
            [(each,) for each in ids],
        )


def _connected(database: Database) -> Any:
    connection = pymysql.connect(
        host="127.0.0.1",
        port=database.server.port,
        user=USER,
        password=PASSWORD,
        database=database.name,
        autocommit=True,
    )
    return closing(connection)


def _age(database: Database) -> None:
    """Make all sessions as they were an hour after they were opened."""
    hour_ago = "UNIX_TIMESTAMP() * 1000 - 3600000"
    database.execute(f"UPDATE sessions SET serial = 1, previous = 0, rotated_at = {hour_ago}, used_at = {hour_ago}")


def _rate(side: Callable[[list[bytes]], None], ids: list[bytes]) -> float:
    began = time.monotonic()
    with ThreadPoolExecutor(CALLERS) as pool:
        for running in [pool.submit(side, ids[number::CALLERS]) for number in range(CALLERS)]:
            running.result()
    return len(ids) / (time.monotonic() - began)
