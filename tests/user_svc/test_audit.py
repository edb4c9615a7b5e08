"""The audit log."""

import secrets
from pathlib import Path
from typing import Any

from protos.user.v1 import user_pb2
from tests.support.process import Process
from tests.support.wait import wait_until
from tests.user_svc.client import PASSWORD, ready_client

NEW = "ripe-avocado"
WRONG = "wrong-password"


def test_security_events_are_written_whatever_the_level(tmp_path: Path) -> None:
    env = {"LOG_LEVEL": "ERROR", "ACCESS_LOG_SAMPLE": "0"}
    with Process("user_svc", env=env, cwd=tmp_path) as process, ready_client(process) as client:
        trace = [("x-trace-id", "trace-1")]
        user_id = client.register("canary_user", metadata=trace).user_id
        client.login("canary_user")
        client.login("canary_user", WRONG)
        client.login("canary_other", WRONG)
        session, other = secrets.token_bytes(16), secrets.token_bytes(16)
        for session_id in (session, other):
            client.users.OpenSession(user_pb2.OpenSessionRequest(session_id=session_id, user_id=user_id), timeout=5)
        client.users.EndSession(user_pb2.EndSessionRequest(session_id=other, user_id=user_id), timeout=5)
        change = user_pb2.ChangePasswordRequest(
            user_id=user_id, current_password=WRONG, new_password=NEW, session_id=session
        )
        client.users.ChangePassword(change, timeout=20)
        change.current_password = PASSWORD
        client.users.ChangePassword(change, timeout=20)
        client.users.EndAllSessions(user_pb2.EndAllSessionsRequest(user_id=user_id), timeout=5)
        client.users.DeleteAccount(user_pb2.DeleteAccountRequest(user_id=user_id, password=WRONG), timeout=5)
        client.users.DeleteAccount(user_pb2.DeleteAccountRequest(user_id=user_id, password=NEW), timeout=5)
        expected: list[dict[str, Any]] = [
            {"message": "registered", "user_id": user_id, "trace_id": "trace-1"},
            {"message": "login_succeeded", "user_id": user_id},
            {"message": "login_denied", "user_id": user_id, "reason": "wrong_password"},
            {"message": "login_denied", "reason": "wrong_password"},
            {"message": "session_opened", "user_id": user_id, "session": session.hex()[:8]},
            {"message": "session_opened", "user_id": user_id, "session": other.hex()[:8]},
            {"message": "session_ended", "user_id": user_id, "session": other.hex()[:8], "reason": "logout"},
            *({"message": "password_change_denied", "user_id": user_id, "reason": "wrong_password"},),
            {"message": "password_changed", "user_id": user_id, "session": session.hex()[:8]},
            {"message": "logged_out", "user_id": user_id, "sessions": 1},
            {"message": "account_deletion_denied", "user_id": user_id, "reason": "wrong_password"},
            {"message": "account_deleted", "user_id": user_id},
        ]
        wait_until(lambda: len([each for each in process.records if each["logger"] == "user_svc.audit"]) == 12)
        lines = [each for each in process.records if each["logger"] == "user_svc.audit"]
        for line, fields in zip(lines, expected, strict=True):
            assert fields.items() <= line.items()
            assert line["trace_id"]
        assert "user_id" not in lines[3]
        for secret in ("canary", PASSWORD, NEW, WRONG, session.hex()):
            assert secret not in process.output
