"""What the tests of this room share."""

import shutil

import pytest


@pytest.fixture(scope="session")
def promtool() -> str:
    """The path of promtool."""
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("promtool is not on the PATH; on Debian and Ubuntu: apt install prometheus")
    return path
