"""Services that verify a session's access tokens by themselves, with the public keys that the gateway serves."""

import shutil
from pathlib import Path

import httpx
import jwt
import pytest
from joserfc.jwk import KeySet
from joserfc.jwt import JWTClaimsRegistry, decode

from tests.clients.conftest import PASSWORD
from tests.clients.tools import HERE, debian, run

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]


@pytest.fixture
def token(url: str, username: str) -> str:
    """An access token of a session."""
    account = {"username": username, "password": PASSWORD}
    with httpx.Client(base_url=url) as client:
        client.post("/api/register", json=account)
        return str(client.post("/api/sessions", json=account).json()["token"])


def test_pyjwt_verifies(url: str, token: str, username: str) -> None:
    key = jwt.PyJWKClient(f"{url}/.well-known/jwks.json").get_signing_key_from_jwt(token)
    assert jwt.decode(token, key, ["ES256"], audience="video-platform")["username"] == username


def test_joserfc_verifies(url: str, token: str, username: str) -> None:
    keys = KeySet.import_key_set(httpx.get(f"{url}/.well-known/jwks.json").json())
    claims = decode(token, keys, algorithms=["ES256"]).claims
    JWTClaimsRegistry(aud={"essential": True, "value": "video-platform"}).validate(claims)
    assert claims["username"] == username


def test_go_jose_verifies(url: str, token: str, username: str, tmp_path: Path) -> None:
    go = debian("go", "golang")
    folder = tmp_path / "go"
    shutil.copytree(HERE / "go", folder)
    assert run(go, "run", "./jwks", url, token, cwd=folder) == username
