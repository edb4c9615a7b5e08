import manifests
import pytest


@pytest.fixture(scope="session", autouse=True)
def helms() -> list[str]:
    """Both Helms, without which nothing here can run."""
    missing = [name for name in manifests.HELMS if not manifests.tool(name)]
    if missing:
        pytest.skip(f"{' and '.join(missing)}: neither on the PATH nor in the cache of `make charts-tools`")
    return manifests.helms()
