"""Signals."""

import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import bcrypt
import grpc
import pytest

from protos.user.v1 import user_pb2
from tests.support.process import Process
from tests.support.wait import wait_until
from tests.user_svc.client import PASSWORD, code_of, ready_client


def request(number: int = 0) -> user_pb2.LoginRequest:
    return user_pb2.LoginRequest(username=f"nobody_{number}", password=PASSWORD)


def test_calls_in_flight_finish(tmp_path: Path) -> None:
    env = {"BCRYPT_COST": "14", "HASH_SLOTS": "1"}
    with Process("user_svc", env=env, cwd=tmp_path) as process, ready_client(process) as client:
        calls = [client.users.Login.future(request(number), timeout=30) for number in range(3)]
        wait_until(lambda: client.metric("password_hash_queue_depth") == 2)
        process.terminate()
        assert [call.result().code for call in calls] == [401, 401, 401]
        assert process.wait() == 0
        with pytest.raises(grpc.RpcError):
            client.login("nobody", timeout=1)


def test_calls_longer_than_grace_are_cut_off(tmp_path: Path) -> None:
    env = {"BCRYPT_COST": "12", "HASH_SLOTS": "1", "GRACE": "0.1"}
    with Process("user_svc", env=env, cwd=tmp_path) as process, ready_client(process) as client:
        calls = [client.users.Login.future(request(number), timeout=30) for number in range(10)]
        wait_until(lambda: client.metric("password_hash_queue_depth") >= 5)
        process.terminate()
        assert process.wait() == 0
        codes = [code_of(call) for call in calls]
        assert codes[-1] in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


@pytest.mark.parametrize("kind", ["hash", "renewal"])
def test_endless_hash_is_abandoned(tmp_path: Path, kind: str) -> None:
    env = {"HASH_SLOTS": "1", "GRACE": "0.1"}
    with Process("tests.user_svc.endless", env=env, cwd=tmp_path) as process, ready_client(process) as client:
        if kind == "hash":
            call = client.users.Register.future(
                user_pb2.RegisterRequest(username="alice", password=PASSWORD), timeout=30
            )
        else:
            with closing(sqlite3.connect(tmp_path / ".data/users.db")) as database, database:
                old = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
                database.execute("INSERT INTO users (username, password) VALUES ('alice', ?)", [old])
            assert client.login("alice").code == 200
        process.wait_for("a hash that does not end")
        process.terminate()
        assert process.wait() == 0
        if kind == "hash":
            assert code_of(call) in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with Process("user_svc", env={"DRAIN_DELAY": "600"}, cwd=tmp_path) as process, ready_client(process):
        process.terminate()
        process.wait_for("draining")
        process.terminate()
        assert process.wait() == 128 + signal.SIGTERM
