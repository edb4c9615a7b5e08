"""The real skaffold: it builds, installs, and puts a changed file into a running pod.

It needs a Docker daemon and skaffold on the PATH. REGISTRY names a registry that both the daemon and the nodes reach;
without it images are expected to reach the node by themselves, as on kind and minikube.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import Record
from support.client_pod import ClientPod
from support.cluster import CommandError, wait_until
from support.namespace import CHARTS, Namespace
from support.node import Node
from support.platform import SMALL, Platform
from support.release import Release

from tests.support.wait import stays

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

REPOSITORY = CHARTS.parent
IMAGES = {"localhost/video-platform/user-svc", "localhost/video-platform/gateway-svc"}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is committed or about to be: a changed file must not be one of the working tree."""
    folder = tmp_path_factory.mktemp("skaffold") / "repository"
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listing, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for name in files.split("\0"):
        source, target = REPOSITORY / name, folder / name
        if name and (source.exists() or source.is_symlink()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    return folder


def command(verb: str, namespace: Namespace, *arguments: str) -> list[str]:
    program = shutil.which("skaffold")
    assert program, "skaffold is not on the PATH"
    options = ["--default-repo", os.environ["REGISTRY"]] if os.environ.get("REGISTRY") else []
    if verb not in {"diagnose", "render", "verify"}:  # verify knows no other cluster than the selected one
        options += ["--kube-context", namespace.cluster.context.name]
    if verb not in {"diagnose", "render"}:
        options += ["--namespace", namespace.name]
    return [program, verb, *([] if verb == "diagnose" else options), *arguments]


def skaffold(folder: Path, verb: str, namespace: Namespace, *arguments: str, timeout: float = 900) -> str:
    """Run skaffold to its end and return what it prints."""
    run = subprocess.run(
        command(verb, namespace, *arguments), cwd=folder, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def namespace(new_namespace: Callable[..., Namespace]) -> Namespace:
    return new_namespace()


def test_diagnose(copy: Path, namespace: Namespace) -> None:
    told = skaffold(copy, "diagnose", namespace)
    for image in IMAGES:
        assert image in told


def test_render(copy: Path, namespace: Namespace) -> None:
    text = skaffold(copy, "render", namespace, "--digest-source=tag", "--offline")
    kinds = {manifest["kind"] for manifest in yaml.safe_load_all(text) if manifest}
    assert kinds >= {"Deployment", "StatefulSet", "Service", "NetworkPolicy"}


def test_run_installs_what_build_built(copy: Path, namespace: Namespace, figures: Record) -> None:
    began = time.monotonic()
    skaffold(copy, "build", namespace)
    figures("skaffold build, seconds", time.monotonic() - began)
    began = time.monotonic()
    skaffold(copy, "run", namespace, "--port-forward=off", "--tail=false")
    figures("skaffold run of what was built, seconds", time.monotonic() - began)
    assert "ok  the user logs in: 200" in Release(namespace).test()
    (pod, *_) = namespace.live("gateway-svc")
    built_image = pod["spec"]["containers"][0]["image"].partition("@")[0].rpartition(":")[0]
    assert built_image.endswith("gateway-svc")
    skaffold(copy, "build", namespace, "--file-output=built.json")
    verified = skaffold(copy, "verify", namespace, "--build-artifacts=built.json")
    assert "a user registered, logged in and read the profile" in verified
    skaffold(copy, "delete", namespace)


LONGER_THAN_LIVENESS = 75
"""Seconds: a process that hangs is restarted after 60 to 70."""


def test_process_at_a_breakpoint_is_not_restarted(new_namespace: Callable[..., Namespace], node: Node) -> None:
    """With the values of `skaffold debug`. At a breakpoint no thread runs, as in a process that is stopped."""
    platform = Platform(new_namespace(), SMALL)
    platform.install("--values", str(CHARTS / "values-debug.yaml"))
    before = platform.keys()
    pods = [platform.namespace.live(name)[0] for name in ("user-svc", "gateway-svc")]
    for pod in pods:
        node.signal(pod, "SIGSTOP")
    try:
        stays(lambda: not any(platform.namespace.restarts().values()), LONGER_THAN_LIVENESS, interval=5)
    finally:
        for pod in pods:
            node.signal(pod, "SIGCONT")
    assert platform.keys() == before
    platform.wait_until_whole()
    assert "ok  the user logs in: 200" in platform.release.test()


def test_dev_changes_the_running_pod(copy: Path, new_namespace: Callable[..., Namespace], figures: Record) -> None:
    namespace = new_namespace()
    client_pod = ClientPod(namespace)
    handlers = copy / "gateway_svc" / "handlers.py"
    text = handlers.read_text()
    assert '"pong"' in text
    log = copy.parent / "dev.log"
    arguments = ("--port-forward=off", "--tail=false", "--cleanup=false", "--status-check=true")

    def ping() -> str:
        if not log.read_text().count("Watching for changes") or not namespace.live("gateway-svc"):
            return ""
        try:
            answer = client_pod.ask({"method": "GET", "url": "http://vp-gateway-svc:8080/ping"})
        except CommandError:  # it does not listen yet while it starts
            return ""
        return str(answer[0]["body"])

    with log.open("w") as output:
        running = subprocess.Popen(
            command("dev", namespace, *arguments), cwd=copy, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            wait_until(lambda: running.poll() is not None or "pong" in ping(), 900, what="the first answer")
            assert running.poll() is None, log.read_text()
            (pod,) = namespace.live("gateway-svc")
            handlers.write_text(text.replace('"pong"', '"changed"'))
            began = time.monotonic()
            wait_until(lambda: ping() == '{"message":"changed"}', 60, what="the changed answer")
            figures("skaffold dev: seconds from a changed file to a changed answer", time.monotonic() - began)
            assert [p["metadata"]["uid"] for p in namespace.live("gateway-svc")] == [pod["metadata"]["uid"]]
        finally:
            running.send_signal(signal.SIGINT)
            running.wait(120)
