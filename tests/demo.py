"""`make demo`: the platform keeps answering while its parts fail, within two minutes on one terminal.

Two gateways and two user services run on an etcd and a database of their own, on free ports, under steady traffic. Each
step prints what clients noticed.
"""

import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import jwt

from tests.support.etcd import Etcd
from tests.support.platform import Platform, is_ready, sample
from tests.support.process import Process
from tests.support.traffic import Traffic
from tests.support.wait import wait_until

ACCOUNT = {"username": "demo_user", "password": "password123"}
RATE = 20
STEP = 5.0
"""Seconds of traffic after each fault, at least."""
OUTAGE = 10.0
"""Seconds without etcd: longer than the TTL of a lease."""
GRACE = 10.5
"""Seconds after which a replaced refresh token is no longer taken for a repeated request."""

_COLOURS = {"ok": "32", "failed": "31", "step": "1"}


class Demo:
    """What is shown, and with what."""

    def __init__(self, platform: Platform, etcd: Etcd, keys: "Keys", traffic: Traffic, stolen: str) -> None:
        self._platform = platform
        self._etcd = etcd
        self._keys = keys
        self._traffic = traffic
        self._stolen = stolen

    def run(self) -> None:
        """Show one step after the other."""
        with self._step("nothing fails"):
            pass
        with self._step(f"etcd is killed, for {OUTAGE:.0f} s") as note:
            self._etcd.kill()
            self._traffic.wait_seconds(OUTAGE)
            self._etcd.start()
            note(f"all are registered {_seconds(self._is_registered)} after etcd is back")
        with self._step("a user service is killed") as note:
            victim = self._platform.retire(self._platform.users[0])
            victim.kill()
            note(f"unregistered {_seconds(self._is_registered)} later, when its lease expired")
        with self._step("a user service is added") as note:
            added = self._platform.start_user()
            note(f"takes calls after {_seconds(partial(_has_served, added), 30)}")
        with self._step("a gateway is restarted") as note:
            self._platform.retire(self._platform.gateways[1]).terminate()
            added = self._platform.start_gateway()
            note(f"ready after {_seconds(partial(is_ready, added), 30)}")
        with self._step("the signing key is rotated") as note:
            note(f"{_seconds(self._rotate)}, without a restart; tokens of the old key are still accepted")
        with self._step("a refresh token is stolen and used") as note:
            note(self._theft())

    def _rotate(self) -> bool:
        with self._platform.client() as client:
            before = _key_id(client)
            self._keys.announce()
            wait_until(lambda: {sample(each, "signing_keys") for each in self._platform.gateways} == {2.0})
            self._keys.swap()
            return wait_until(lambda: _key_id(client) != before)

    def _theft(self) -> str:
        with self._platform.client() as client:
            owner = client.post("/api/sessions/refresh", json={"refresh_token": self._stolen}).json()
            self._traffic.wait_seconds(GRACE)
            thief = client.post("/api/sessions/refresh", json={"refresh_token": self._stolen}).json()
            again = client.post("/api/sessions/refresh", json={"refresh_token": owner["refresh_token"]})
            assert again.status_code == 401, "a refresh token was accepted that another one has replaced"
            seconds = _seconds(lambda: _status(client, thief["token"]) == 401)
        return f"the session ended when its owner refreshed; the thief's token was refused {seconds} later"

    @contextmanager
    def _step(self, what: str) -> Iterator[Callable[[str], None]]:
        notes: list[str] = []
        began = time.monotonic()
        print(_coloured("step", what), end="", flush=True)
        yield notes.append
        self._traffic.wait_seconds(STEP)
        sent = [each for each in list(self._traffic.sent) if each.at >= began]
        failed = [each for each in sent if each.status != 200]
        slowest = max(each.took for each in sent)
        figures = f"{len(sent)} requests, {len(failed)} failed, slowest {slowest * 1000:.0f} ms"
        print("", _coloured("failed" if failed else "ok", figures), *notes, sep="\n  ")

    def _is_registered(self) -> bool:
        return len(self._platform.keys) == len(self._platform.users)


class Keys:
    """The keys of tokens, in files as Kubernetes mounts them."""

    def __init__(self, folder: Path) -> None:
        self._current, self._previous = folder / "jwt-secret", folder / "jwt-previous-secrets"
        self._old = self._new = secrets.token_hex(32)
        self._current.write_text(self._old)
        self._previous.write_text("")
        self.env = {
            "JWT_SECRET": "",
            "JWT_SECRET_FILE": str(self._current),
            "JWT_PREVIOUS_SECRETS_FILE": str(self._previous),
            "FILE_POLL_INTERVAL": "0.5",
        }

    def announce(self) -> None:
        """Let all gateways accept a new key; the old one is among those as well, so that it outlives the swap."""
        self._new = secrets.token_hex(32)
        self._previous.write_text(f"{self._old},{self._new}")

    def swap(self) -> None:
        """Let gateways sign with the new key."""
        self._current.write_text(self._new)


def main() -> int:
    """Run the demo; return the exit code, 1 when a client noticed anything."""
    print("Starting etcd, two user services and two gateways: ", end="", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="demo-") as folder, Etcd() as etcd:
        keys = Keys(Path(folder))
        with Platform(etcd, Path(folder), users=2, gateways=2, env=keys.env) as platform:
            print(f"{time.monotonic() - began:.1f} s\n{RATE} requests a second: logins, profiles, pings\n")
            with platform.client() as client:
                client.post("/api/register", json=ACCOUNT).raise_for_status()
                token = client.post("/api/login", json=ACCOUNT).json()["token"]
                session = client.post("/api/sessions", json=ACCOUNT).json()
            with Traffic(partial(_mixture, platform.url, token), rate=RATE) as traffic:
                Demo(platform, etcd, keys, traffic, session["refresh_token"]).run()
    failed = traffic.others(200)
    figures = f"{len(traffic.sent)} requests in {time.monotonic() - began:.0f} s, {len(failed)} failed"
    print(f"\n{_coloured('failed' if failed else 'ok', figures)}")
    return 1 if failed else 0


async def _mixture(url: str, token: str, client: httpx.AsyncClient, number: int) -> httpx.Response:
    if number % 10 == 0:
        return await client.post(f"{url}/api/login", json=ACCOUNT)
    if number % 2:
        return await client.get(f"{url}/ping")
    return await client.get(f"{url}/api/profile", headers={"Authorization": f"Bearer {token}"})


def _key_id(client: httpx.Client) -> str:
    token = client.post("/api/login", json=ACCOUNT).json()["token"]
    return str(jwt.get_unverified_header(token)["kid"])


def _status(client: httpx.Client, token: str) -> int:
    return client.get("/api/profile", headers={"Authorization": f"Bearer {token}"}).status_code


def _has_served(process: Process) -> bool:
    return is_ready(process) and sample(process, "grpc_server_handled_total", grpc_method="Login") > 0


def _seconds(condition: Callable[[], bool], timeout: float = 20.0) -> str:
    began = time.monotonic()
    wait_until(condition, timeout, what="the platform to recover")
    return f"{time.monotonic() - began:.1f} s"


def _coloured(kind: str, text: str) -> str:
    return f"\x1b[{_COLOURS[kind]}m{text}\x1b[0m" if sys.stdout.isatty() else text


if __name__ == "__main__":
    try:
        sys.exit(main())
    except AssertionError as error:  # its notes are the logs of all processes
        sys.exit(f"\nerror: {str(error).splitlines()[0]}; on a busy machine try again")
