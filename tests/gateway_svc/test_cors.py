"""Pages of other origins: in a real browser, allowed ones read answers, foreign ones nothing."""

import contextlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from gateway_svc.app import CONTRACT
from tests.gateway_svc.conftest import CREDENTIALS, StartGateway, admin, raw, setting_problems
from tests.support.chromium import BINARY, Chromium
from tests.support.process import Process
from tests.support.users_stub import UsersStub
from tests.support.wait import wait_until

ORIGIN = "https://app.example.org"
needs_browser = pytest.mark.skipif(BINARY is None, reason="chromium is not on the PATH")


class Page(http.server.BaseHTTPRequestHandler):
    """An empty page at every path."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!DOCTYPE html><link rel=icon href=data:,><title>A page</title>")

    def log_message(self, *args: Any) -> None:
        pass


@contextlib.contextmanager
def website() -> Iterator[str]:
    """Serve an empty page, and yield its origin."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


@contextlib.contextmanager
def page_of(origin: str) -> Iterator[Chromium]:
    with Chromium() as browser:
        browser.open(f"{origin}/")
        browser.wait_for("document.title === 'A page'")
        yield browser


def fetch(browser: Chromium, url: str, **options: Any) -> Any:
    """Return what a script of the page learns: status, text and headers, or that it learns nothing."""
    return browser.evaluate(
        f"""fetch({json.dumps(url)}, {json.dumps(options)}).then(
            async answer => [answer.status, await answer.text(), answer.headers.get("x-trace-id")],
            error => error.name)"""
    )


@needs_browser
def test_a_page_of_an_allowed_origin_reads_answers(start_gateway: StartGateway, users: UsersStub) -> None:
    with website() as origin, page_of(origin) as browser:
        gateway = start_gateway(USER_SERVICE_TARGET=users.target, CORS_ORIGINS=f"{ORIGIN}, {origin}")
        base = f"http://{gateway.target}"
        json_body = {"method": "POST", "headers": {"Content-Type": "application/json"}, "body": json.dumps(CREDENTIALS)}
        fetch(browser, f"{base}/api/register", **json_body)
        status, text, trace_id = fetch(browser, f"{base}/api/sessions", **json_body)
        opened = json.loads(text)
        assert (status, opened["msg"], len(trace_id)) == (200, "登录成功", 32)

        bearer = {"Authorization": f"Bearer {opened['token']}", "X-Trace-ID": "from-the-page"}
        status, text, trace_id = fetch(browser, f"{base}/api/profile", headers=bearer)
        assert (status, json.loads(text)["data"]["username"], trace_id) == (200, "testuser123", "from-the-page")
        path = f"/api/sessions/{opened['session_id']}"
        assert fetch(browser, base + path, method="DELETE", headers=bearer)[0] == 200
        assert fetch(browser, f"{base}/api/profile", headers=bearer)[0] == 401
        assert fetch(browser, f"{base}/nowhere")[0] == 404

        wait_until(lambda: any(record.get("code") == 404 for record in gateway.records), 5, what="the requests' lines")
        preflights = [each for each in gateway.records if (each.get("method"), each.get("code")) == ("other", 200)]
        assert {each["route"] for each in preflights} == {
            "/api/register",
            "/api/sessions",
            "/api/profile",
            "/api/sessions/{session_id}",
        }
        counted = 'http_requests_total{method="other",route="/api/profile",status="200"}'
        assert counted in admin(gateway, "/metrics").text


@needs_browser
def test_a_page_of_a_foreign_origin_reads_nothing(
    gateway: Process, start_gateway: StartGateway, users: UsersStub
) -> None:
    on = start_gateway(USER_SERVICE_TARGET=users.target, CORS_ORIGINS=f"{ORIGIN},http://127.0.0.1:1")
    calls = len(users.calls)
    with website() as origin, page_of(origin) as browser:
        for base in (f"http://{gateway.target}", f"http://{on.target}"):
            for path in ("/ping", "/.well-known/jwks.json", "/openapi.json", "/api/profile"):
                assert fetch(browser, base + path) == "TypeError"
                assert fetch(browser, base + path, mode="no-cors") == [0, "", None]
            assert fetch(browser, f"{base}/api/profile", headers={"Authorization": "Bearer x"}) == "TypeError"
            body = json.dumps(CREDENTIALS)
            as_json = {"Content-Type": "application/json"}
            assert fetch(browser, f"{base}/api/register", method="POST", headers=as_json, body=body) == "TypeError"
            assert fetch(browser, f"{base}/api/register", method="POST", mode="no-cors", body=body) == [0, "", None]
    assert users.calls[calls:] == []


def answer_bytes(gateway: Process, line: str, fields: str = "") -> bytes:
    """Return an answer byte for byte, but for its date."""
    head = f"{line} HTTP/1.1\r\nHost: x\r\nX-Trace-ID: t\r\nContent-Length: 0\r\nConnection: close\r\n{fields}\r\n"
    return re.sub(rb"\r\ndate: [^\r]*", b"", raw(gateway, head.encode()))


LINES = [
    "GET /ping",
    "POST /api/login",
    "GET /api/profile",
    "GET /.well-known/jwks.json",
    "OPTIONS /api/login",
    "GET /x",
]


def test_no_byte_changes_while_it_is_off(gateway: Process, start_gateway: StartGateway, users: UsersStub) -> None:
    on = start_gateway(USER_SERVICE_TARGET=users.target, CORS_ORIGINS=ORIGIN)
    asks = f"Origin: {ORIGIN}\r\nAccess-Control-Request-Method: POST\r\n"
    for line in LINES:
        plain = answer_bytes(gateway, line)
        assert answer_bytes(gateway, line, asks) == plain
        assert b"access-control" not in plain
        assert b"vary" not in plain
        assert answer_bytes(on, line) != plain


def test_answers_vary_by_origin_while_it_is_on(start_gateway: StartGateway, users: UsersStub) -> None:
    gateway = start_gateway(USER_SERVICE_TARGET=users.target, CORS_ORIGINS=ORIGIN)
    for path in ("/ping", "/.well-known/jwks.json", "/nowhere", "/docs"):
        for origin, allowed in [(None, None), ("https://evil.example", None), ("null", None), (ORIGIN, ORIGIN)]:
            answer = httpx.get(f"http://{gateway.target}{path}", headers={"Origin": origin} if origin else {})
            assert answer.headers["vary"] == "Origin"
            assert answer.headers.get("access-control-allow-origin") == allowed
            assert "access-control-allow-credentials" not in answer.headers


def test_a_preflight_is_answered_for_each_operation(start_gateway: StartGateway, users: UsersStub) -> None:
    gateway = start_gateway(USER_SERVICE_TARGET=users.target, CORS_ORIGINS=ORIGIN)
    paths: dict[str, Any] = yaml.safe_load(CONTRACT.read_text())["paths"]
    for path, item in paths.items():
        for method in item:
            asked = {"Origin": ORIGIN, "Access-Control-Request-Method": method.upper()}
            asked["Access-Control-Request-Headers"] = "authorization,content-type,x-trace-id"
            answer = httpx.options(f"http://{gateway.target}{path}", headers=asked)
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, ORIGIN)
            assert len(answer.headers["x-trace-id"]) == 32
            refused = httpx.options(f"http://{gateway.target}{path}", headers={**asked, "Origin": f"{ORIGIN}.evil"})
            assert refused.status_code == 400
            assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize(
    "origins",
    [
        "*",
        "null",
        "app.example.org",
        "https://app.example.org/",
        "https://App.example.org",
        "https://app.example.org:443",
        "http://app.example.org:80",
        "https://*.example.org",
        "https://app.example.org https://other.example.org",
        f"{ORIGIN},https://user@c4naryzq",
    ],
)
def test_what_no_browser_sends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origins: str) -> None:
    (problem,) = setting_problems(tmp_path, monkeypatch, CORS_ORIGINS=origins)
    assert problem.startswith("CORS_ORIGINS: must be origins such as https://app.example.org, with commas between: ")
    assert "c4naryzq" not in problem
