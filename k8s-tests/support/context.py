"""Which cluster tests may touch: never one that somebody happens to have selected."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from kubernetes import config
from kubernetes.config.kube_config import KUBE_CONFIG_DEFAULT_LOCATION

NAMED = "K8S_TEST_CONTEXT"


class RefusedError(Exception):
    """No cluster may be touched; the text is the sentence to print."""


@dataclass(frozen=True)
class Context:
    """A context of kubectl's configuration, and what kind of cluster it stands for."""

    name: str
    kind: str
    """local, kind, minikube or other."""


def local_folder() -> Path:
    """Where `make cluster` keeps what it makes."""
    return Path(os.environ.get("CLUSTER_DIR", "/var/lib/video-platform-cluster"))


def select() -> Context | None:
    """Return the context to use, or None when kubectl has none at all.

    Raises:
        RefusedError: when the current context is a cluster that is not for tests, or the named one is unknown.
    """
    named = os.environ.get(NAMED, "")
    try:
        contexts, current = config.list_kube_config_contexts()
    except config.ConfigException:
        contexts, current = [], None
    names = {context["name"] for context in contexts}
    if named and named not in names:
        raise RefusedError(f"{NAMED} is {named}, and kubectl knows no context of that name.")
    name = named or (current["name"] if current else "")
    if not name:
        return None
    kind = _kind(name)
    if kind == "other" and not named:
        raise RefusedError(
            f"The current context, {name}, is neither kind's nor minikube's nor that of `make cluster`: "
            f"tests stop and delete things, so name it in {NAMED} if they may."
        )
    return Context(name, kind)


def _kind(name: str) -> str:
    if name.startswith("kind-"):
        return "kind"
    if name == "minikube":
        return "minikube"
    # A name alone would not do: others call their clusters `local`, too.
    files = [Path(path).expanduser() for path in KUBE_CONFIG_DEFAULT_LOCATION.split(os.pathsep)]
    return "local" if files == [local_folder() / "kubeconfig"] else "other"


if __name__ == "__main__":
    try:
        selected = select()
    except RefusedError as refusal:
        sys.exit(str(refusal))
    print(selected.kind if selected else "none", selected.name if selected else "")
