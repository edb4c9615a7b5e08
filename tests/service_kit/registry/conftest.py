"""Fixtures of the registry's tests."""

from collections.abc import Callable, Iterator

import pytest

from service_kit.registry import EtcdConfig, Instance, Registrar
from tests.support.etcd import Etcd

Register = Callable[..., Registrar]


@pytest.fixture(scope="session")
def _etcd_of_the_registry() -> Iterator[Etcd]:
    with Etcd() as running:
        yield running


@pytest.fixture
def own_etcd(_etcd_of_the_registry: Etcd) -> Iterator[Etcd]:
    """An empty etcd that the test may kill, wipe and stop."""
    yield _etcd_of_the_registry
    _etcd_of_the_registry.clear()


@pytest.fixture
def register() -> Iterator[Register]:
    """Make registrars, and start them, that are stopped at the end of the test."""
    registrars: list[Registrar] = []

    def make(endpoint: str, instance: Instance, *, timeout: float = 1.0, ttl: int = 60, **others: object) -> Registrar:
        config = EtcdConfig((endpoint,), timeout=timeout)
        registrars.append(Registrar(config, "user", instance, ttl=ttl, **others))  # type: ignore[arg-type]
        registrars[-1].start()
        return registrars[-1]

    yield make
    for registrar in registrars:
        registrar.stop(timeout=2)
