import manifests
import pytest


@pytest.fixture(scope="session", autouse=True)
def helm() -> str:
    found = manifests.tool("helm")
    if not found:
        pytest.skip("helm is neither on the PATH nor in the cache of `make cluster`")
    return found
