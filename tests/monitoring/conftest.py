"""What the tests of this room share."""

import pytest

from tests.support.prometheus import promtool_or_skip


@pytest.fixture(scope="session")
def promtool() -> str:
    """The path of promtool."""
    return promtool_or_skip()
