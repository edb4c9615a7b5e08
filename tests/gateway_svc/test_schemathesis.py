"""Everything that the contract says, tried against a live gateway with all of schemathesis's checks."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import jwt

from tests.gateway_svc.conftest import SECRET
from tests.support.process import ROOT, Process
from tests.support.users_stub import UsersStub

EXAMPLES = 50


def test_the_gateway_keeps_its_contract(gateway: Process, users: UsersStub, tmp_path: Path) -> None:
    token = jwt.encode({"user_id": 1, "username": "abc", "exp": int(time.time()) + 3600}, SECRET, "HS256")
    calls, lines = len(users.calls), len(gateway.records)
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"http://127.0.0.1:{gateway.port}/openapi.json",
        "--checks=all",
        f"--max-examples={EXAMPLES}",
        "--exclude-path-regex=^/api/logout",  # which would end the token that the others are tried with
        f"--header=Authorization: Bearer {token}",
        "--request-timeout=10",
        "--no-color",
    ]
    run = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.gateway_svc.schemathesis_hooks"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Tested: 10" in run.stdout, run.stdout
    tried = re.search(r"(\d+) generated, (\d+) passed", run.stdout)
    assert tried, run.stdout
    assert int(tried[1]) == int(tried[2]) > 2 * EXAMPLES
    assert len(users.calls) - calls > EXAMPLES / 2  # a good part of it was accepted
    assert not [record for record in gateway.records[lines:] if record["level"] == "ERROR"]
