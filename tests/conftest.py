"""Fixtures that the tests of several rooms share."""

from collections.abc import Iterator

import pytest

from tests.parts.etcd import Etcd


@pytest.fixture(scope="session")
def etcd() -> Iterator[Etcd]:
    """One etcd for everyone: use a prefix of your own, and never stop it."""
    with Etcd() as running:
        yield running
