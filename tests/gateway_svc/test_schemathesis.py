"""Everything that the contract says, tried against a live gateway with all of schemathesis's checks."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.gateway_svc.conftest import CREDENTIALS, StartGateway
from tests.support.process import ROOT
from tests.support.users_stub import UsersStub

EXAMPLES = 50


@pytest.fixture
def users() -> Iterator[UsersStub]:
    """A user service of its own, whose first user may end with another password, or deleted."""
    with UsersStub() as stub:
        yield stub


def test_the_gateway_keeps_its_contract(start_gateway: StartGateway, users: UsersStub, tmp_path: Path) -> None:
    gateway = start_gateway(USER_SERVICE_TARGET=users.target)
    httpx.post(f"http://{gateway.target}/api/register", json=CREDENTIALS)
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"http://127.0.0.1:{gateway.port}/openapi.json",
        "--checks=all",
        f"--max-examples={EXAMPLES}",
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
    assert "Tested: 14" in run.stdout, run.stdout
    tried = re.search(r"(\d+) generated, (\d+) passed", run.stdout)
    assert tried, run.stdout
    assert int(tried[1]) == int(tried[2]) > 2 * EXAMPLES
    assert len(users.calls) > EXAMPLES / 2  # a good part of it was accepted
    assert {"ChangePassword", "DeleteAccount", "EndSession", "EndAllSessions"} < set(users.calls)
    assert not [record for record in gateway.records if record["level"] == "ERROR"]
