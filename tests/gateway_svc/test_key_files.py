"""Secrets in mounted files: rotated without a restart, and kept when what is there cannot be used."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from gateway_svc.tokens import AccessTokens, Keys, RefreshTokens
from tests.gateway_svc.conftest import CREDENTIALS, admin, wait_until_ready
from tests.support.certificates import Mount
from tests.support.process import Process
from tests.support.users_stub import UsersStub
from tests.support.wait import wait_until

OLD, NEW = "old-secret-" * 4, "new-secret-" * 4


class Secret:
    """A mounted Secret with the keys that sign tokens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mount: Mount | None = None

    def hold(self, current: str | bytes | None, previous: str | None = None) -> None:
        held = {"jwt-secret": current, "jwt-previous-secrets": previous}
        files = {
            name: each.encode() if isinstance(each, str) else each for name, each in held.items() if each is not None
        }
        if self._mount is None:
            self._mount = Mount(self.folder, files)
        else:
            self._mount.renew(files)

    @property
    def env(self) -> dict[str, str]:
        return {
            "JWT_SECRET_FILE": str(self.folder / "jwt-secret"),
            "JWT_PREVIOUS_SECRETS_FILE": str(self.folder / "jwt-previous-secrets"),
            "FILE_POLL_INTERVAL": "0.05",
        }


class Gateway:
    def __init__(self, process: Process, http: httpx.Client) -> None:
        self.process = process
        self.http = http
        self.http.post("/api/register", json=CREDENTIALS)

    def pair(self) -> tuple[str, str]:
        answer = self.http.post("/api/sessions", json=CREDENTIALS).json()
        return answer["token"], answer["refresh_token"]

    def login(self) -> str:
        return str(self.http.post("/api/login", json=CREDENTIALS).json()["token"])

    def status(self, token: str) -> int:
        return self.http.get("/api/profile", headers={"Authorization": f"Bearer {token}"}).status_code

    def refresh(self, token: str) -> dict[str, Any]:
        answer = self.http.post("/api/sessions/refresh", json={"refresh_token": token})
        assert answer.status_code in (200, 401)
        refreshed: dict[str, Any] = answer.json()
        return refreshed

    def kids(self) -> list[str]:
        return [key["kid"] for key in self.http.get("/.well-known/jwks.json").json()["keys"]]

    def metric(self, series: str) -> float:
        lines = admin(self.process, "/metrics").text.splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{series} "))


@pytest.fixture
def secret(tmp_path: Path) -> Secret:
    return Secret(tmp_path / "jwt")


@pytest.fixture
def gateway(secret: Secret, users: UsersStub, tmp_path: Path) -> Iterator[Gateway]:
    secret.hold(OLD)
    with Process("gateway_svc", env={**secret.env, "USER_SERVICE_TARGET": users.target}, cwd=tmp_path) as process:
        wait_until_ready(process)
        with httpx.Client(base_url=f"http://127.0.0.1:{process.port}") as http:
            yield Gateway(process, http)


def taken(gateway: Gateway, times: int) -> None:
    name = 'key_reloads_total{result="taken"}'
    wait_until(lambda: gateway.metric(name) == times, 5, what="the files to be taken")


def test_the_steps_of_a_rotation_refuse_nothing(gateway: Gateway, secret: Secret) -> None:
    login, (token, refresh_token) = gateway.login(), gateway.pair()
    (old_kid,) = gateway.kids()

    secret.hold(OLD, NEW)
    taken(gateway, 1)
    assert len(gateway.kids()) == gateway.metric("signing_keys") == 2
    assert jwt.get_unverified_header(gateway.pair()[0])["kid"] == old_kid

    secret.hold(NEW, OLD)
    taken(gateway, 2)
    assert gateway.status(login) == gateway.status(token) == 200
    refreshed = gateway.refresh(refresh_token)
    assert refreshed["code"] == 200
    assert jwt.get_unverified_header(refreshed["token"])["kid"] != old_kid

    secret.hold(NEW)
    taken(gateway, 3)
    assert old_kid not in gateway.kids()
    assert gateway.status(login) == gateway.status(token) == 401
    assert gateway.status(refreshed["token"]) == 200
    assert gateway.refresh(refresh_token)["msg"] == "无效的刷新凭证"
    assert gateway.refresh(refreshed["refresh_token"])["code"] == 200
    shown = gateway.process.output + json.dumps(gateway.kids())
    assert OLD not in shown
    assert NEW not in shown


STEPS = [Keys(OLD), Keys(OLD, [NEW]), Keys(NEW, [OLD]), Keys(NEW)]
"""A rotation, from its beginning to its end."""


@pytest.mark.parametrize(("issuer", "verifier"), [(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)])
def test_gateways_a_rotation_apart_accept_each_others_tokens(issuer: int, verifier: int) -> None:
    one, other = (
        AccessTokens(STEPS[step], issuer="us", audience="us", is_revoked=lambda _: False) for step in (issuer, verifier)
    )
    assert other.verify(one.issue(1, "abc", 0)).user_id == 1
    assert other.verify(one.issue_for_session(1, "abc", 0, bytes(16))).user_id == 1
    assert RefreshTokens(STEPS[verifier]).check(RefreshTokens(STEPS[issuer]).issue(bytes(16), 7)).serial == 7
    kids = {key["kid"] for key in other.jwks()}
    assert STEPS[issuer].session_key.kid in kids


def test_a_leaked_key_is_replaced_at_once(gateway: Gateway, secret: Secret) -> None:
    login, (token, refresh_token) = gateway.login(), gateway.pair()
    secret.hold(NEW, "")
    taken(gateway, 1)
    assert gateway.status(login) == gateway.status(token) == 401
    assert gateway.refresh(refresh_token)["code"] == 401
    assert gateway.status(gateway.pair()[0]) == 200


@pytest.mark.parametrize(
    ("current", "previous", "cause"),
    [
        ("", None, "must be at least 32 bytes long"),
        ("x" * 31, None, "must be at least 32 bytes long"),
        (None, None, "does not exist"),
        (b"\xff" * 40, None, "is not UTF-8"),
        ("-----BEGIN PUBLIC KEY-----\n" + "A" * 60 + "\n-----END PUBLIC KEY-----", None, "a public or private key"),
        (NEW, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "a public or private key"),
    ],
    ids=["empty", "short", "missing", "not UTF-8", "a public key", "a public key before"],
)
def test_an_unusable_file_keeps_the_keys(
    gateway: Gateway, secret: Secret, current: str | bytes | None, previous: str | None, cause: str
) -> None:
    token, refresh_token = gateway.pair()
    secret.hold(current, previous)
    wait_until(lambda: gateway.metric('key_reloads_total{result="failed"}') > 2, 5, what="readings to be counted")
    causes = [each["cause"] for each in gateway.process.records if "mounted file" in each["message"]]
    assert len(causes) == 1
    assert cause in causes[0]
    assert gateway.status(token) == gateway.status(gateway.login()) == 200
    assert gateway.refresh(refresh_token)["code"] == 200
    secret.hold(NEW, OLD)
    taken(gateway, 1)
    assert gateway.status(token) == 200


@pytest.mark.parametrize("previous", [None, "", "\n"])
def test_previous_secrets_may_be_missing_at_the_start(
    secret: Secret, users: UsersStub, tmp_path: Path, previous: str | None
) -> None:
    secret.hold(OLD, previous)
    with Process("gateway_svc", env={**secret.env, "USER_SERVICE_TARGET": users.target}, cwd=tmp_path) as process:
        wait_until_ready(process)
        assert "signing_keys 1.0" in admin(process, "/metrics").text


def test_two_gateways_rotate_apart_and_refuse_nothing(users: UsersStub, tmp_path: Path) -> None:
    mounted = [Secret(tmp_path / name) for name in ("one", "other")]
    with ExitStack() as stack:
        gateways = []
        for secret in mounted:
            secret.hold(OLD)
            env = {**secret.env, "USER_SERVICE_TARGET": users.target}
            process = stack.enter_context(Process("gateway_svc", env=env, cwd=tmp_path))
            http = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{process.port}"))
            wait_until_ready(process)
            gateways.append(Gateway(process, http))
        login = gateways[0].login()
        _, refresh_token = gateways[0].pair()

        for step, (current, previous) in enumerate([(OLD, NEW), (NEW, OLD)], 1):
            for secret, late in zip(mounted, gateways, strict=True):
                secret.hold(current, previous)
                taken(late, step)
                for issuer in gateways:
                    tokens = [login, issuer.login(), issuer.pair()[0]]
                    refreshed = issuer.refresh(refresh_token)
                    refresh_token = refreshed["refresh_token"]
                    tokens.append(refreshed["token"])
                    assert {each.status(token) for each in gateways for token in tokens} == {200}
        for secret, gateway in zip(mounted, gateways, strict=True):
            secret.hold(NEW)
            taken(gateway, 3)
            refresh_token = gateway.refresh(refresh_token)["refresh_token"]
            assert {each.status(gateway.pair()[0]) for each in gateways} == {200}
