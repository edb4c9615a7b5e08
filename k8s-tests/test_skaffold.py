"""The real skaffold: it builds, installs, and puts a changed file into a running pod.

It needs a Docker daemon and skaffold on the PATH. REGISTRY names a registry that both the daemon and the nodes reach;
without it images are expected to reach the node by themselves, as on kind and minikube.
"""

import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml
from conftest import Record
from support.client_pod import ClientPod
from support.cluster import CommandError, wait_until
from support.debugger import Debugger
from support.namespace import CHARTS, Namespace
from support.platform import PASSWORD, SMALL, Platform
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


@contextmanager
def running(folder: Path, verb: str, namespace: Namespace, *arguments: str) -> Iterator[Callable[[], str]]:
    """Run skaffold beside the test; yield what it has printed so far, which fails when it has ended."""
    log = folder.parent / f"{verb}.log"
    options = ("--tail=false", "--cleanup=false", *arguments)
    with log.open("w") as output:
        # SIGINT goes to a group, as from Ctrl-C: skaffold alone can leave port forwards behind.
        process = subprocess.Popen(
            command(verb, namespace, *options),
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

        def printed() -> str:
            assert process.poll() is None, log.read_text()
            return log.read_text()

        try:
            yield printed
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(120)


LONGER_THAN_LIVENESS = 75
"""Seconds: a process that hangs is restarted after 60 to 70."""

LOGIN = ("user_svc/service.py", "account = self._store.find(request.username, _patience(context))")
PING = ("gateway_svc/handlers.py", "return _PONG")


def test_process_at_a_breakpoint_is_not_restarted(
    copy: Path, new_namespace: Callable[..., Namespace], figures: Record
) -> None:
    platform = Platform(new_namespace(), SMALL)
    forwarded = re.compile(r"/vp-(gateway|user)-svc\S* .*remote port (\d+) -> http://127\.0\.0\.1:(\d+)")
    began = time.monotonic()
    with running(copy, "debug", platform.namespace) as printed:

        def ports() -> dict[tuple[str, ...], int]:
            found = {tuple(line[:2]): int(line[2]) for line in forwarded.findall(printed())}
            return found if len(found) == 3 else {}

        port = wait_until(ports, 900, what="the forwarded ports")
        figures("skaffold debug: seconds until both debuggers can be attached to", time.monotonic() - began)
        before = platform.keys()
        assert len(before) == 1
        user = {"username": f"u_{secrets.token_hex(5)}", "password": PASSWORD}
        client = httpx.Client(base_url=f"http://127.0.0.1:{port['gateway', '8080']}", timeout=LONGER_THAN_LIVENESS + 60)
        with (
            client,
            ThreadPoolExecutor() as pool,
            Debugger(port["user", "5678"], copy) as user_service,
            Debugger(port["gateway", "5678"], copy) as gateway,
        ):
            assert client.post("/api/register", json=user).status_code == 200
            line = user_service.break_at(*LOGIN)
            login = pool.submit(client.post, "/api/login", json=user)
            assert user_service.wait_until_stopped() == line
            assert user_service.evaluate("request.username") == repr(user["username"])
            assert login.result().status_code == 503
            line = gateway.break_at(*PING)
            ping = pool.submit(client.get, "/ping")
            assert gateway.wait_until_stopped() == line
            stays(lambda: not any(platform.namespace.restarts().values()), LONGER_THAN_LIVENESS, interval=5)
            assert not ping.done()
            gateway.go_on()
            assert ping.result().json() == {"message": "pong"}
            assert platform.keys() == before
            user_service.clear(LOGIN[0])
            user_service.go_on()
            wait_until(lambda: client.post("/api/login", json=user).status_code == 200, 60, what="a login")


def test_dev_changes_the_running_pod(copy: Path, new_namespace: Callable[..., Namespace], figures: Record) -> None:
    namespace = new_namespace()
    client_pod = ClientPod(namespace)
    handlers = copy / "gateway_svc" / "handlers.py"
    text = handlers.read_text()
    assert '"pong"' in text

    def ping() -> str:
        if not printed().count("Watching for changes") or not namespace.live("gateway-svc"):
            return ""
        try:
            answer = client_pod.ask({"method": "GET", "url": "http://vp-gateway-svc:8080/ping"})
        except CommandError:  # it does not listen yet while it starts
            return ""
        return str(answer[0]["body"])

    with running(copy, "dev", namespace, "--port-forward=off", "--status-check=true") as printed:
        wait_until(lambda: "pong" in ping(), 900, what="the first answer")
        (pod,) = namespace.live("gateway-svc")
        handlers.write_text(text.replace('"pong"', '"changed"'))
        began = time.monotonic()
        wait_until(lambda: ping() == '{"message":"changed"}', 60, what="the changed answer")
        figures("skaffold dev: seconds from a changed file to a changed answer", time.monotonic() - began)
        assert [p["metadata"]["uid"] for p in namespace.live("gateway-svc")] == [pod["metadata"]["uid"]]
