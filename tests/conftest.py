"""Fixtures that the tests of several rooms share."""

import os
from collections.abc import Generator, Iterator

import pytest

from tests.support import mariadb as mariadb_part
from tests.support.etcd import Etcd
from tests.support.mariadb import Database, Server


@pytest.fixture(scope="session")
def etcd() -> Iterator[Etcd]:
    """One etcd for everyone: use a prefix of your own, and never stop it."""
    with Etcd() as running:
        yield running


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One MariaDB or MySQL for everyone: use a database of your own, and never stop it."""
    if mariadb_part.server_binary() is None:
        pytest.skip("neither mariadbd nor mysqld is on the PATH")
    server = Server.create(tmp_path_factory.mktemp("mariadb"))
    yield server
    server.stop()


@pytest.fixture
def database(mariadb: Server) -> Database:
    """An empty database in the shared server."""
    return mariadb.database()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI nothing that ships goes untested: there, a test that is skipped has failed."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longreprtext}"
    return report
