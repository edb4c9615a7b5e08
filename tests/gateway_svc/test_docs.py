"""/docs in a real browser: complete, usable, and with nothing from elsewhere."""

import json
from pathlib import Path

import httpx
import pytest

from tests.gateway_svc.conftest import CREDENTIALS, StartGateway, admin
from tests.support.chromium import BINARY, Chromium
from tests.support.process import Process
from tests.support.proxies import nginx
from tests.support.users_stub import UsersStub


def test_it_is_locked_up(client: httpx.Client) -> None:
    for path, content_type in [
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/swagger-ui.css", "text/css; charset=utf-8"),
        ("/docs/swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("/docs/start.js", "text/javascript; charset=utf-8"),
        ("/openapi.json", "application/json"),
    ]:
        answer = client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, content_type)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; ")
        assert "frame-ancestors 'none'" in policy
        assert "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert client.get("/docs/index.html").status_code == 404


def test_docs_can_be_turned_off(start_gateway: StartGateway, users: UsersStub) -> None:
    gateway = start_gateway(USER_SERVICE_TARGET=users.target, DOCS="false")
    for path in ("/docs", "/docs/", "/docs/swagger-ui.css", "/openapi.json"):
        for method in ("GET", "POST"):
            answer = httpx.request(method, f"http://{gateway.target}{path}")
            assert (answer.status_code, answer.json()) == (404, {"code": 404, "msg": "接口不存在"})
    assert 'route="/docs"' not in admin(gateway, "/metrics").text
    assert httpx.get(f"http://{gateway.target}/ping").status_code == 200


def test_docs_with_a_slash_redirects(client: httpx.Client) -> None:
    answer = client.get("/docs/")
    assert (answer.status_code, answer.headers["location"]) == (308, "../docs")
    assert client.get("/docs/", follow_redirects=True).url.path == "/docs"
    assert client.post("/docs/").status_code == 405


def click(browser: Chromium, selector: str) -> None:
    browser.wait_for(f"document.querySelector('{selector}') !== null")
    browser.evaluate(f"document.querySelector('{selector}').click()")


def try_out(browser: Chromium, operation: str) -> str:
    """Expand an operation, execute its example and return the answer that is shown."""
    block = f"#operations-{operation}"
    for control in (".opblock-summary-control", ".try-out__btn", ".execute"):
        click(browser, f"{block} {control}")
    return str(browser.wait_for(f"document.querySelector('{block} .live-responses-table .microlight')?.textContent"))


def authorize(browser: Chromium, token: str) -> None:
    """Paste a token into the dialog of the button Authorize."""
    click(browser, ".auth-wrapper .btn.authorize")
    browser.wait_for("document.querySelector('.auth-container input') !== null")
    browser.evaluate("document.querySelector('.auth-container input').focus()")
    browser.call("Input.insertText", text=token)
    click(browser, ".auth-btn-wrapper .authorize")
    click(browser, ".auth-btn-wrapper .btn-done")
    browser.wait_for("document.querySelector('.auth-container') === null")


@pytest.mark.skipif(BINARY is None, reason="chromium is not on the PATH")
def test_docs_work_behind_a_stripped_prefix(client: httpx.Client, gateway: Process, tmp_path: Path) -> None:
    client.post("/api/register", json=CREDENTIALS)
    location = "location /video/ { proxy_pass http://gateway/; }"
    with nginx(tmp_path, [gateway.target], location) as port, Chromium() as browser:
        browser.open(f"http://127.0.0.1:{port}/video/docs/")
        assert "登录成功" in try_out(browser, "users-login")
        assert browser.complaints == []
    assert f"http://127.0.0.1:{port}/video/api/login" in browser.requests


@pytest.mark.skipif(BINARY is None, reason="chromium is not on the PATH")
def test_a_person_reads_and_tries_it(client: httpx.Client, gateway: Process, users: UsersStub, tmp_path: Path) -> None:
    client.post("/api/register", json=CREDENTIALS)
    operations = sum(map(len, client.get("/openapi.json").json()["paths"].values()))
    base = f"http://127.0.0.1:{gateway.port}/"
    with Chromium() as browser:
        browser.open(f"{base}docs")
        browser.wait_for(f"document.querySelectorAll('.opblock').length === {operations}")
        assert browser.evaluate("document.querySelector('.title').textContent").startswith("Video platform user API")

        calls = len(users.calls)
        assert "登录成功" in try_out(browser, "users-login")
        browser.screenshot(tmp_path / "docs.png")
        assert users.calls[calls:] == ["Login"]

    elsewhere = [url for url in browser.requests if not url.startswith((base, "data:"))]
    assert elsewhere == []
    assert f"{base}openapi.json" in browser.requests
    assert browser.complaints == []


@pytest.mark.skipif(BINARY is None, reason="chromium is not on the PATH")
def test_a_person_goes_through_a_session(start_gateway: StartGateway, tmp_path: Path) -> None:
    with UsersStub() as users, Chromium() as browser:
        gateway = start_gateway(USER_SERVICE_TARGET=users.target)
        browser.call("Emulation.setDeviceMetricsOverride", width=1200, height=1500, deviceScaleFactor=1, mobile=False)
        browser.open(f"http://127.0.0.1:{gateway.port}/docs")
        assert "注册成功" in try_out(browser, "users-register")
        opened = json.loads(try_out(browser, "sessions-open_session"))
        assert (opened["msg"], opened["device_token"][:4]) == ("登录成功", "vpd_")

        authorize(browser, opened["token"])
        profile = json.loads(try_out(browser, "users-profile"))
        assert profile["data"] == {"user_id": opened["user_id"], "username": "testuser123"}
        browser.evaluate("document.querySelector('#operations-users-profile').scrollIntoView()")
        browser.screenshot(tmp_path / "profile.png")
        assert "退出成功" in try_out(browser, "sessions-logout")

        click(browser, "#operations-users-profile .execute")
        browser.wait_for("document.querySelector('#operations-users-profile').textContent.includes('无效的 Token')")
        browser.evaluate("document.querySelector('#operations-users-profile .live-responses-table').scrollIntoView()")
        browser.screenshot(tmp_path / "logged-out.png")
    assert users.calls == ["Register", "Login", "OpenSession", "EndSession"]
    assert [each for each in browser.complaints if "status of 401" not in each] == []
