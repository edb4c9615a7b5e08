"""Fixtures of the tests on a live cluster. A cluster is asked for only by the tests that need one."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest
from support.cluster import Cluster, Manifest
from support.context import RefusedError, select
from support.namespace import Namespace
from support.node import Node
from support.platform import VALUES, Platform

Record = Callable[[str, object], None]

_figures = pytest.StashKey[list[str]]()
_namespaces: list[Namespace] = []


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster that may be used; without one the run fails with an error message."""
    try:
        context = select()
    except RefusedError as refusal:
        pytest.exit(str(refusal), returncode=2)
    if context is None:
        pytest.exit("kubectl has no context: `make k8s-test` makes a cluster, where there is none.", returncode=2)
    chosen = Cluster(context)
    yield chosen
    chosen.close()


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Record:
    """Takes what was measured on the way, to be printed at the end."""
    lines = pytestconfig.stash.setdefault(_figures, [])
    return lambda name, value: lines.append(f"{name}: {value:.1f}" if isinstance(value, float) else f"{name}: {value}")


@contextmanager
def _namespaces_of(cluster: Cluster) -> Iterator[Callable[..., Namespace]]:
    made: list[Namespace] = []

    def make(standard: str = "restricted") -> Namespace:
        made.append(Namespace(cluster, standard=standard))
        _namespaces.append(made[-1])
        return made[-1]

    try:
        yield make
    finally:
        for namespace in made:
            _namespaces.remove(namespace)
            namespace.close()


@pytest.fixture(scope="session")
def kept_namespace(cluster: Cluster) -> Iterator[Callable[..., Namespace]]:
    """Makes namespaces that are deleted at the end."""
    with _namespaces_of(cluster) as make:
        yield make


@pytest.fixture(scope="module")
def new_namespace(cluster: Cluster) -> Iterator[Callable[..., Namespace]]:
    """Makes namespaces that are deleted when the module's tests have ended: a node has room for few platforms."""
    with _namespaces_of(cluster) as make:
        yield make


@pytest.fixture(scope="session")
def installed(kept_namespace: Callable[..., Namespace], figures: Record) -> Platform:
    """The platform, as it was installed; some test may have left it in pieces."""
    platform = Platform(kept_namespace(), VALUES)
    began = time.monotonic()
    platform.install()
    figures("helm install --wait, seconds", time.monotonic() - began)
    for name in platform.replicas:
        for pod in platform.namespace.pods(name):
            figures(f"{pod['metadata']['name']}, seconds from creation to Ready", seconds_to_ready(pod))
    return platform


@pytest.fixture
def platform(installed: Platform) -> Platform:
    """The platform, whole."""
    installed.restore()
    return installed


@pytest.fixture(scope="session")
def node(kept_namespace: Callable[..., Namespace]) -> Node:
    """What sees the node's processes."""
    return Node(kept_namespace("privileged"))


def seconds_to_ready(pod: Manifest) -> float:
    """Return how long a pod took from its creation to Ready, by the API's whole seconds."""
    ready = next(c for c in pod["status"]["conditions"] if c["type"] == "Ready")
    return (_time(ready["lastTransitionTime"]) - _time(pod["metadata"]["creationTimestamp"])).total_seconds()


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows what was on the cluster."""
    report = yield
    if report.failed and call.excinfo and not call.excinfo.errisinstance(pytest.exit.Exception):
        for namespace in _namespaces:
            try:
                text = namespace.report()
            except Exception as error:  # noqa: BLE001  # the failure itself matters more
                text = repr(error)
            report.sections.append((f"namespace {namespace.name}", text))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the figures."""
    if lines := config.stash.get(_figures, []):
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.write_line(line)
