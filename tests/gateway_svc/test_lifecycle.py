"""Settings, ports, probes, and how the gateway stops."""

import asyncio
import json
import resource
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway_svc import health
from gateway_svc.health import Health
from service_kit.registry import EtcdConfig, Instance, Registrar
from tests.gateway_svc.conftest import CREDENTIALS, SECRET, StartGateway, admin, wait_until_ready
from tests.support.etcd import Etcd
from tests.support.mortal import end_thread
from tests.support.process import Process
from tests.support.users_stub import UsersStub
from tests.support.wait import wait_until

GET_PING = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"


def ended(cwd: Path, **env: str) -> tuple[int, str]:
    """Start a gateway that cannot start, and return its exit code and what it wrote."""
    with Process("gateway_svc", env=env, cwd=cwd) as process:
        return process.wait(), process.output


@pytest.mark.parametrize(
    ("env", "sentences"),
    [
        (
            {},
            [
                "error: JWT_SECRET is not set",
                "error: USER_SERVICE_TARGET or ETCD_ADDRESS must be set, or no user service can be found",
            ],
        ),
        (
            {"JWT_SECRET": "c4naryzq" * 3, "USER_SERVICE_TARGET": "x", "LISTEN_PORT": "c4naryzq", "GRACE": "-1"},
            [
                "error: LISTEN_PORT: ",
                "error: JWT_SECRET must be at least 32 bytes long",
                "error: GRACE: ",
            ],
        ),
        (
            {"JWT_SECRET": SECRET, "ETCD_ADDRESS": "c4naryzq"},
            ["error: ETCD_ADDRESS: must be host:port"],
        ),
    ],
)
def test_wrong_settings(tmp_path: Path, env: dict[str, str], sentences: list[str]) -> None:
    code, output = ended(tmp_path, **env)
    assert code == 2
    for line, sentence in zip(sorted(output.splitlines()), sorted(sentences), strict=True):
        assert line.startswith(sentence)
    assert "c4naryzq" not in output


def public_key(encoding: Encoding, kind: PublicFormat) -> str:
    return ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(encoding, kind).decode()


NOT_SECRETS = {
    "an SSH key": public_key(Encoding.OpenSSH, PublicFormat.OpenSSH),
    "an old SSH key": "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7 someone@somewhere",
    "a PEM public key": public_key(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "a PEM certificate": f"-----BEGIN CERTIFICATE-----\n{'TUlJQg' * 12}\n-----END CERTIFICATE-----\n",
    "a JWK": '{"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ"}',
}


@pytest.mark.parametrize("mounted", [False, True])
@pytest.mark.parametrize("value", NOT_SECRETS.values(), ids=NOT_SECRETS)
def test_a_key_of_another_algorithm_is_refused(tmp_path: Path, value: str, *, mounted: bool) -> None:
    (tmp_path / "secret").write_text(value)
    env = {"JWT_SECRET_FILE": str(tmp_path / "secret")} if mounted else {"JWT_SECRET": value}
    code, output = ended(tmp_path, USER_SERVICE_TARGET="ipv4:127.0.0.1:1", **env)
    assert (code, output.count("\n")) == (2, 1)
    assert output.startswith("error: JWT_SECRET is a public or private key, a certificate or a JWK")
    assert value.strip() not in output


@pytest.mark.parametrize("value", [NOT_SECRETS["an SSH key"], NOT_SECRETS["a PEM certificate"]])
def test_a_public_key_as_previous_secret_is_refused(tmp_path: Path, value: str) -> None:
    env = {"JWT_SECRET": SECRET, "JWT_PREVIOUS_SECRETS": f"gateway.key, {value}", "ETCD_ADDRESS": "127.0.0.1:1"}
    code, output = ended(tmp_path, **env)
    assert (code, output.count("\n")) == (2, 1)
    assert output.startswith("error: JWT_PREVIOUS_SECRETS contains a public or private key, a certificate or a JWK")
    assert "gateway.key" not in output
    assert value.strip() not in output


def test_secret_length_is_counted_in_bytes(start_gateway: StartGateway, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("ä" * 16 + "\n")
    env = {"JWT_SECRET": "", "JWT_SECRET_FILE": str(tmp_path / "secret"), "USER_SERVICE_TARGET": "ipv4:127.0.0.1:1"}
    assert start_gateway(wait=False, **env).port


@pytest.mark.parametrize("variable", ["LISTEN_PORT", "ADMIN_PORT"])
def test_a_port_that_is_taken(tmp_path: Path, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        env = {"JWT_SECRET": SECRET, "USER_SERVICE_TARGET": "ipv4:127.0.0.1:1", variable: str(port)}
        code, output = ended(tmp_path, **env)
    assert code == 1
    assert output == f"error: {variable}: cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_an_address_that_is_not_ours(tmp_path: Path) -> None:
    env = {"JWT_SECRET": SECRET, "USER_SERVICE_TARGET": "ipv4:127.0.0.1:1", "LISTEN_HOST": "192.0.2.1"}
    code, output = ended(tmp_path, **env)
    assert (code, output.count("\n")) == (1, 1)
    assert output.startswith("error: LISTEN_PORT: cannot listen on 192.0.2.1:0: ")


def test_a_dead_resolver_fails_liveness_and_is_named(etcd: Etcd, users: UsersStub, tmp_path: Path) -> None:
    prefix = f"test/{tmp_path.name}"
    registrar = Registrar(EtcdConfig((etcd.endpoint,)), "user", Instance(users.address), prefix=prefix)
    env = {"JWT_SECRET": SECRET, "ETCD_ADDRESS": etcd.endpoint, "REGISTRY_PREFIX": prefix}
    with Process("tests.support.mortal", "gateway_svc", env=env, cwd=tmp_path) as gateway:
        registrar.start()
        wait_until_ready(gateway)
        assert admin(gateway, "/livez").status_code == 200
        assert 'thread_alive{thread="resolver"} 1.0' in admin(gateway, "/metrics").text
        end_thread(gateway, "resolver")
        wait_until(lambda: admin(gateway, "/livez").text == "the thread 'resolver' has died\n", 20)
        assert gateway.wait_for("the thread 'resolver' has died")["level"] == "CRITICAL"
        assert 'thread_alive{thread="resolver"} 0.0' in admin(gateway, "/metrics").text
        assert httpx.post(f"http://{gateway.target}/api/login", json=CREDENTIALS).status_code in {200, 401}
        gateway.terminate()
        assert gateway.wait() == 0
    registrar.stop()


def test_a_stuck_event_loop_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "BEAT", 0.01)
    monkeypatch.setattr(health, "STUCK_AFTER", 0.5)
    state, free = Health(), threading.Event()

    async def run() -> None:
        beat = asyncio.create_task(state.beat())
        await asyncio.sleep(0.05)
        free.wait(10)  # which no task should do
        await asyncio.sleep(0.05)
        seen.append(state.livez())
        beat.cancel()

    seen: list[str | None] = []
    loop = threading.Thread(target=lambda: asyncio.run(run()))
    loop.start()
    wait_until(lambda: state.livez() is not None, 5, what="the stuck loop to be noticed")
    assert str(state.livez()).startswith("the event loop has been stuck for ")
    free.set()
    loop.join(5)
    assert seen == [None]


class Connection:
    """A keep-alive connection on which requests are sent as they are."""

    def __init__(self, gateway: Process) -> None:
        self._socket = socket.create_connection(("127.0.0.1", gateway.port), timeout=10)

    def ask(self, request: bytes = GET_PING) -> bytes:
        self._socket.sendall(request)
        answer = b""
        while not answer.endswith(b"}"):
            received = self._socket.recv(65536)
            assert received, answer
            answer += received
        return answer

    def quiet_for(self, seconds: float) -> bool:
        """Whether the gateway neither says anything nor closes."""
        return not select.select([self._socket], [], [], seconds)[0]

    @property
    def closed(self) -> bool:
        return self._socket.recv(1) == b""

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def connect() -> Iterator[Callable[[Process], Connection]]:
    made: list[Connection] = []

    def make(gateway: Process) -> Connection:
        made.append(Connection(gateway))
        return made[-1]

    yield make
    for connection in made:
        connection.close()


def test_draining(start_gateway: StartGateway, users: UsersStub, connect: Callable[[Process], Connection]) -> None:
    """Not ready at once, yet answering for DRAIN_DELAY; then what is in flight ends, and the exit code is 0."""
    # A short GRACE, of which idle connections get a part, so that the login is within its deadline at the end.
    gateway = start_gateway(USER_SERVICE_TARGET=users.target, DRAIN_DELAY="2", GRACE="8")
    entered, release = threading.Event(), threading.Event()

    def slow(*_: object) -> None:
        entered.set()
        release.wait(10)

    users.before = slow
    kept, idle = connect(gateway), connect(gateway)
    assert b"connection" not in kept.ask().lower()
    assert b"connection" not in idle.ask().lower()
    nobody = {"username": "nobody", "password": "password123"}
    with ThreadPoolExecutor(1) as threads:
        login = threads.submit(httpx.post, f"http://127.0.0.1:{gateway.port}/api/login", json=nobody, timeout=10)
        assert entered.wait(5)
        gateway.terminate()
        wait_until(lambda: admin(gateway, "/readyz").text == "draining\n", 5, what="the gateway to be not ready")
        assert admin(gateway, "/livez").status_code == 200
        answer = kept.ask()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nconnection: close\r\n" in answer
        assert kept.closed
        assert connect(gateway).ask().startswith(b"HTTP/1.1 200 ")  # new connections are still accepted
        assert idle.closed  # when the delay is over
        with pytest.raises(ConnectionError):
            connect(gateway)
        assert gateway.running
        release.set()
        assert login.result(5).status_code == 401
    assert gateway.wait() == 0
    assert [record["message"] for record in gateway.records if record["logger"] == "lifecycle"] == [
        "listening",
        "gRPC is not encrypted: GRPC_TLS_CERT_FILE is not set",
        "draining",
        "stopped",
    ]
    assert "Traceback" not in gateway.output


def test_idle_connection_is_left_to_its_client(
    start_gateway: StartGateway, users: UsersStub, connect: Callable[[Process], Connection]
) -> None:
    """Beyond the drain delay: what it sends just then would be lost. When it has left, nothing is waited for."""
    gateway = start_gateway(USER_SERVICE_TARGET=users.target, DRAIN_DELAY="0.2", GRACE="40")
    idle = connect(gateway)
    idle.ask()
    gateway.terminate()
    gateway.wait_for("draining")
    assert idle.quiet_for(1)
    answer = idle.ask()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close\r\n" in answer
    assert idle.closed
    assert gateway.wait(5) == 0


@pytest.mark.parametrize("how", ["a second SIGTERM", "the end of GRACE"])
def test_what_takes_too_long_is_cut_off(start_gateway: StartGateway, users: UsersStub, how: str) -> None:
    second = how == "a second SIGTERM"
    gateway = start_gateway(USER_SERVICE_TARGET=users.target, DRAIN_DELAY="60" if second else "0", GRACE="1")
    users.before = users.wait_for_cancel
    calls = len(users.calls)
    with ThreadPoolExecutor(1) as threads:
        login = threads.submit(httpx.post, f"http://127.0.0.1:{gateway.port}/api/login", json=CREDENTIALS, timeout=10)
        wait_until(lambda: len(users.calls) > calls, 5, what="the call to arrive")
        gateway.terminate()
        gateway.wait_for("draining")
        began = time.monotonic()
        if second:
            gateway.terminate()
        answer = login.result(5)
        assert (answer.status_code, answer.json()["msg"]) == (503, "服务暂时不可用，请稍后重试")
        assert answer.headers["x-trace-id"]
        assert answer.headers["connection"] == "close"
    assert gateway.wait(5) == 0
    assert time.monotonic() - began < 4
    assert users.cancelled.wait(3)
    assert "Traceback" not in gateway.output


def test_unavailable_etcd_does_not_stop_the_gateway(start_gateway: StartGateway) -> None:
    gateway = start_gateway(wait=False, ETCD_ADDRESS="127.0.0.1:1")
    assert httpx.get(f"http://127.0.0.1:{gateway.port}/ping").status_code == 200
    assert admin(gateway, "/livez").status_code == 200
    assert admin(gateway, "/readyz").status_code == 503
    assert json.loads(httpx.post(f"http://127.0.0.1:{gateway.port}/api/login", json=CREDENTIALS).text)["code"] == 503
    gateway.terminate()
    assert gateway.wait() == 0


def test_probes_answer_when_file_descriptors_are_used_up(start_gateway: StartGateway, users: UsersStub) -> None:
    gateway = start_gateway(USER_SERVICE_TARGET=users.target)
    resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (64, 64))
    with ExitStack() as idle:
        for _ in range(100):
            idle.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=10))
        wait_until(lambda: psutil.Process(gateway.pid).num_fds() == 64, 5, what="the gateway to be out of files")
        for _ in range(20):
            for path in ("/livez", "/readyz", "/metrics"):
                assert httpx.get(f"http://127.0.0.1:{gateway.admin_port}{path}", timeout=10).status_code == 200
