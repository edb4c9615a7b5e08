"""`make demo` ends well."""

import subprocess
import sys

import pytest

from tests.support.process import ROOT


@pytest.mark.faults
@pytest.mark.exclusive
@pytest.mark.timeout(300)
def test_clients_notice_nothing_in_the_demo() -> None:
    demo = subprocess.run([sys.executable, "-m", "tests.demo"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert demo.stdout.count(" 0 failed") == 8
