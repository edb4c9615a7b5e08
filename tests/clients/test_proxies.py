"""nginx and HAProxy in front of the gateway, as their manuals begin."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from tests.clients.conftest import check
from tests.clients.test_http_clients import curl, flow, httpx_sender
from tests.support.process import Process
from tests.support.proxies import haproxy, nginx

NGINX = {
    "nginx": "location / { proxy_pass http://gateway; }",  # HTTP/1.0, and a connection for each request
    "nginx-streaming": """location / {
      proxy_pass http://gateway; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_request_buffering off;
    }""",
    "nginx-prefix": "location /platform/ { proxy_pass http://gateway/; }",
}
HAPROXY = {
    "haproxy": [],
    "haproxy-prefix": [
        "http-request deny unless { path_beg /platform/ }",
        r"http-request replace-path /platform(/.*) \1",
    ],
}


@pytest.fixture(scope="module", params=[*NGINX, *HAPROXY])
def proxied(
    request: pytest.FixtureRequest, gateway: Process, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of the gateway behind a proxy, with the path that the proxy strips."""
    name, folder = request.param, tmp_path_factory.mktemp("proxy")
    targets = [f"127.0.0.1:{gateway.port}"]
    with nginx(folder, targets, NGINX[name]) if name in NGINX else haproxy(folder, targets, HAPROXY[name]) as port:
        yield f"http://127.0.0.1:{port}{'/platform' if name.endswith('prefix') else ''}"


def test_proxies_pass_each_answer_on(proxied: str, username: str) -> None:
    with httpx.Client(base_url=proxied, trust_env=False, timeout=10) as client:
        check(flow(httpx_sender(client), username), username)


def test_proxied_oversized_body_is_413(proxied: str) -> None:
    with httpx.Client(base_url=proxied, trust_env=False, timeout=10) as client:
        for size in (70_000, 1_000_000):
            answer = client.post("/api/login", content=b"x" * size, headers={"Content-Type": "application/json"})
            assert (answer.status_code, answer.json()["msg"]) == (413, "请求体过大")


def test_the_contract_leads_back_through_the_proxy(proxied: str) -> None:
    with httpx.Client(trust_env=False, timeout=10) as client:
        contract = client.get(f"{proxied}/openapi.json")
        server = urljoin(f"{proxied}/openapi.json", contract.json()["servers"][0]["url"])
        assert client.get(f"{server.rstrip('/')}/ping").json() == {"message": "pong"}


def test_http2_ends_at_haproxy(gateway: Process, username: str, tmp_path: Path) -> None:
    with haproxy(tmp_path, [f"127.0.0.1:{gateway.port}"]) as port:
        check(flow(curl(f"http://127.0.0.1:{port}", "--http2-prior-knowledge"), username), username)
