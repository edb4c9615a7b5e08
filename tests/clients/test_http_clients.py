"""HTTP clients as they come, each with its defaults."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

from tests.clients.conftest import PASSWORD, Answers, check
from tests.clients.tools import HERE, debian, run
from tests.support.process import Process

Answer = tuple[int, Any]
Send = Callable[[str, str, dict[str, str], dict[str, str] | None], Answer]
"""Called with method, path, headers and the fields of a JSON body."""


def flow(send: Send, username: str) -> Answers:
    def post(path: str, username: str, password: str = PASSWORD) -> Answer:
        return send("POST", path, {}, {"username": username, "password": password})

    registered = post("/api/register", username)
    logged_in = post("/api/login", username)
    return {
        "register": registered,
        "login": logged_in,
        "profile": send("GET", "/api/profile", {"Authorization": f"Bearer {logged_in[1].get('token')}"}, None),
        "wrongPassword": post("/api/login", username, "wrongpassword"),
        "badRequest": post("/api/register", "ab"),
    }


def curl(url: str, *options: str) -> Send:
    """Return a sender that starts curl for each request."""

    def send(method: str, path: str, headers: dict[str, str], fields: dict[str, str] | None) -> Answer:
        command = ["curl", "--silent", "--show-error", "--max-time", "10", "--noproxy", "*", *options]
        command += ["--request", method, "--write-out", "\n%{http_code}"]
        if fields is not None:
            headers = {**headers, "Content-Type": "application/json"}
            command += ["--data", json.dumps(fields)]
        for header in headers.items():
            command += ["--header", ": ".join(header)]
        body, status = run(*command, url + path, cwd=HERE).rsplit("\n", 1)
        return int(status), json.loads(body)

    return send


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="defaults"),
        pytest.param(["--http1.0"], id="http1.0"),
        pytest.param(["--http2"], id="http2"),
        pytest.param(["--header", "Transfer-Encoding: chunked"], id="chunked"),
        pytest.param(["--header", "Expect: 100-continue"], id="expect"),
        pytest.param(["--http2", "--header", "Expect: 100-continue"], id="http2-expect"),
        pytest.param(["--http2", "--header", "Transfer-Encoding: chunked"], id="http2-chunked"),
    ],
)
def test_curl_gets_each_answer(url: str, username: str, options: list[str]) -> None:
    check(flow(curl(url, *options), username), username)


def test_curl_offers_http2_again_on_one_connection(url: str) -> None:
    login = [
        "--http2",
        "--header",
        "Content-Type: application/json",
        "--data",
        '{"username":"nobody","password":"absent"}',
    ]
    twice = [*login, f"{url}/api/login", "--next", "--silent", *login, f"{url}/api/login"]
    assert run("curl", "--silent", "--max-time", "10", "--noproxy", "*", *twice, cwd=HERE).count("密码错误") == 2


def test_http2_without_upgrade_is_refused_at_once(gateway: Process, url: str) -> None:
    command = ["curl", "--silent", "--show-error", "--max-time", "5", "--noproxy", "*", "--http2-prior-knowledge"]
    refused = subprocess.run([*command, f"{url}/ping"], capture_output=True, text=True, check=False)
    timed_out = 28
    assert refused.returncode not in (0, timed_out), refused.stderr
    assert httpx.get(f"{url}/ping").status_code == 200
    assert not [record for record in gateway.records if record["level"] == "ERROR"]


def test_requests_gets_each_answer(url: str, username: str) -> None:
    with requests.Session() as session:
        session.trust_env = False

        def send(method: str, path: str, headers: dict[str, str], fields: dict[str, str] | None) -> Answer:
            response = session.request(method, url + path, headers=headers, json=fields, timeout=10)
            return response.status_code, response.json()

        check(flow(send, username), username)


def test_httpx_gets_each_answer(url: str, username: str) -> None:
    with httpx.Client(base_url=url, trust_env=False, timeout=10) as client:
        check(flow(httpx_sender(client), username), username)


def httpx_sender(client: httpx.Client) -> Send:
    def send(method: str, path: str, headers: dict[str, str], fields: dict[str, str] | None) -> Answer:
        response = client.request(method, path, headers=headers, json=fields)
        return response.status_code, response.json()

    return send


@pytest.mark.clients
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(lambda: (debian("node", "nodejs"), HERE / "npm" / "fetch.mjs"), id="node-fetch"),
        pytest.param(lambda: (debian("go", "golang"), "run", HERE / "go" / "nethttp" / "main.go"), id="go-net-http"),
        pytest.param(
            lambda: (debian("java", "default-jdk-headless"), HERE / "java" / "Http.java"), id="jdk-http-client"
        ),
    ],
)
def test_language_s_own_client_gets_each_answer(
    url: str, username: str, tmp_path: Path, command: Callable[[], tuple[str | Path, ...]]
) -> None:
    check(json.loads(run(*command(), url, username, cwd=tmp_path)), username)
