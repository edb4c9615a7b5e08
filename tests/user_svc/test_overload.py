"""More passwords than can be hashed."""

import secrets
from collections import Counter
from pathlib import Path
from typing import Any

import grpc

from protos.user.v1 import user_pb2
from tests.support.process import Process
from tests.support.wait import wait_until
from tests.user_svc.client import PASSWORD, Client, code_of, ready_client

FLOOD = 300


def flood(client: Client, count: int, deadline: float, *, names: int = 1) -> list[Any]:
    requests = [user_pb2.LoginRequest(username=f"nobody{number}", password=PASSWORD) for number in range(names)]
    return [client.users.Login.future(requests[call % names], timeout=deadline) for call in range(count)]


def retry_after(error: Any) -> int:
    return int(dict(error.trailing_metadata())["retry-after"])


def test_flood_is_refused_while_other_calls_continue(tmp_path: Path) -> None:
    env = {"HASH_SLOTS": "1", "THROTTLE_MODE": "off"}
    with Process("user_svc", env=env, cwd=tmp_path) as process, ready_client(process) as client:
        assert client.register("alice").code == 200
        calls = flood(client, FLOOD, deadline=6.0)
        with Client(process) as other:
            wait_until(lambda: other.metric("password_hash_queue_depth") > 0)
            assert other.register("alice", timeout=1).code == 409
            assert other.register("al", timeout=1).code == 400
            assert other.serves("liveness")
            assert other.serves("readiness")
            assert other.metric("password_hash_queue_depth") > 0, "the flood was over before anything could be seen"
        codes = Counter(code_of(call) for call in calls if call.exception() or True)
        assert codes[grpc.StatusCode.OK] > 1
        assert codes[grpc.StatusCode.RESOURCE_EXHAUSTED] > 1
        # A machine that stands still for a moment makes late those who were to be just in time.
        assert codes[grpc.StatusCode.DEADLINE_EXCEEDED] < codes[grpc.StatusCode.OK]
        assert codes.keys() <= {
            grpc.StatusCode.OK,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        }
        refused = [call.exception() for call in calls if code_of(call) is grpc.StatusCode.RESOURCE_EXHAUSTED]
        assert all(1 <= retry_after(error) <= 60 for error in refused)
        assert client.metric("password_hash_rejected_total") >= len(refused)
        wait_until(lambda: client.metric("password_hash_queue_depth") == 0)
        assert client.login("alice").code == 200


def test_known_devices_do_not_wait_behind_a_flood(tmp_path: Path) -> None:
    env = {"HASH_SLOTS": "1", "BCRYPT_COST": "12", "THROTTLE_MODE": "observe"}
    with Process("user_svc", env=env, cwd=tmp_path) as process, ready_client(process) as client:
        user_id = client.register("alice").user_id
        device = user_pb2.Device(user_id=user_id, generation=0, id=secrets.token_bytes(16))
        calls = flood(client, FLOOD, deadline=5, names=FLOOD)
        wait_until(lambda: client.metric("password_hash_rejected_total") > 0)
        assert client.login("alice", device=device).code == 200
        assert client.metric("password_hash_queue_depth") > 0, "the flood was over before anything could be seen"
        for call in calls:
            call.cancel()


def test_guesses_of_one_name_delay_no_others(tmp_path: Path) -> None:
    env = {"HASH_SLOTS": "1", "BCRYPT_COST": "12", "THROTTLE_MODE": "observe"}
    with Process("user_svc", env=env, cwd=tmp_path) as process, ready_client(process) as client:
        assert client.register("alice").code == 200
        calls = flood(client, FLOOD, deadline=5)
        wait_until(lambda: client.metric("password_hash_rejected_total") > 0)
        assert client.login("alice").code == 200
        assert client.metric("password_hash_queue_depth") > 0, "the flood was over before anything could be seen"
        for call in calls:
            call.cancel()


def test_callers_that_have_gone_cost_no_hash(tmp_path: Path) -> None:
    env = {"HASH_SLOTS": "1", "BCRYPT_COST": "12", "THROTTLE_MODE": "off"}
    with Process("user_svc", env=env, cwd=tmp_path) as process, ready_client(process) as client:
        calls = flood(client, 12, deadline=30)
        wait_until(lambda: client.metric("password_hash_queue_depth") >= 10)
        for call in calls:
            call.cancel()
        wait_until(lambda: client.metric("password_hash_queue_depth") == 0)
        assert client.login("nobody").code == 401
        assert client.metric("password_hash_seconds_count") < 6
        assert client.metric("grpc_server_handled_total", grpc_method="Login", grpc_code="CANCELLED") >= 6
