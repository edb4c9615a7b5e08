"""No cluster is touched by accident. Needs none."""

import json
from pathlib import Path

import pytest
from kubernetes.config import kube_config
from support import context
from support.context import Context, RefusedError, select


@pytest.fixture
def contexts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration of kubectl with several contexts; which of them is the current one, the test says."""
    names = ["kind-dev", "minikube", "production", "local"]
    file = tmp_path / "kubeconfig"
    file.write_text(
        json.dumps(
            {
                "clusters": [{"name": "c", "cluster": {"server": "https://192.0.2.1"}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": name, "context": {"cluster": "c", "user": "u"}} for name in names],
                "current-context": "production",
            }
        )
    )
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(file))
    monkeypatch.setattr(context, "KUBE_CONFIG_DEFAULT_LOCATION", str(file))
    monkeypatch.delenv("K8S_TEST_CONTEXT", raising=False)
    monkeypatch.delenv("CLUSTER_DIR", raising=False)
    return file


def switch(file: Path, name: str) -> None:
    settings = json.loads(file.read_text())
    file.write_text(json.dumps({**settings, "current-context": name}))


@pytest.mark.parametrize(("name", "kind"), [("kind-dev", "kind"), ("minikube", "minikube")])
def test_clusters_made_for_tests_are_used(contexts: Path, name: str, kind: str) -> None:
    switch(contexts, name)
    assert select() == Context(name, kind)


@pytest.mark.parametrize("name", ["production", "local"])
def test_another_is_refused_unless_it_is_named(contexts: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    switch(contexts, name)
    with pytest.raises(RefusedError, match=rf"The current context, {name}, .* name it in K8S_TEST_CONTEXT"):
        select()
    monkeypatch.setenv("K8S_TEST_CONTEXT", name)
    assert select() == Context(name, "other")


def test_named_context_wins_over_the_current_one(contexts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K8S_TEST_CONTEXT", "kind-dev")
    assert select() == Context("kind-dev", "kind")


def test_unknown_name_is_refused(contexts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K8S_TEST_CONTEXT", "prodution")
    with pytest.raises(RefusedError, match="kubectl knows no context of that name"):
        select()


def test_own_cluster_is_identified_by_its_folder(contexts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    switch(contexts, "local")
    monkeypatch.setenv("CLUSTER_DIR", str(contexts.parent))
    assert select() == Context("local", "local")


def test_no_configuration_is_no_context(contexts: Path) -> None:
    contexts.unlink()
    assert select() is None
