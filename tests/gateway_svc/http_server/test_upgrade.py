"""An Upgrade that is not taken up changes nothing (RFC 9110, section 7.8)."""

import json
import shutil
import subprocess

import pytest

from tests.gateway_svc.conftest import CREDENTIALS
from tests.gateway_svc.http_server.conftest import GET_PING, POST_LOGIN, Connect
from tests.support.process import Process
from tests.support.users_stub import UsersStub

H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
WEBSOCKET = b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
BODY = json.dumps(CREDENTIALS).encode()
LENGTH = b"Content-Length: %d\r\n\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)


@pytest.fixture(autouse=True)
def _account(gateway: Process, connect: Connect) -> None:
    head = POST_LOGIN.replace(b"login", b"register")
    assert connect(gateway).ask(head + LENGTH + BODY).status in {200, 409}


def test_curl_with_http2(gateway: Process) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not on the PATH")
    url = f"http://127.0.0.1:{gateway.port}/api/login"
    arguments = ["--silent", "--show-error", "--noproxy", "*", "--max-time", "5", "--http2", "--include"]
    for data in (BODY.decode(), json.dumps({**CREDENTIALS, "password": "wrong password"})):
        command = [curl, *arguments, "-H", "Content-Type: application/json", "-d", data, url, url]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert output.count(f"HTTP/1.1 {200 if data == BODY.decode() else 401}") == 2


@pytest.mark.parametrize("upgrade", [H2C, WEBSOCKET, b"Connection: upgrade\r\nUpgrade: a, b/2\r\nupgrade: c\r\n"])
@pytest.mark.parametrize(("framing", "body"), [(LENGTH, BODY), (CHUNKED, CHUNKS)], ids=["length", "chunked"])
@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_upgrade_headers_are_ignored(
    gateway: Process, connect: Connect, users: UsersStub, upgrade: bytes, framing: bytes, body: bytes, pieces: int
) -> None:
    client = connect(gateway)
    calls = len(users.calls)
    for _ in range(2):
        match pieces:
            case 1:
                client.send(POST_LOGIN + upgrade + framing + body)
            case 2:
                client.send(POST_LOGIN + upgrade + framing)
                client.send(body)
            case 3:
                client.send(POST_LOGIN + upgrade[:30])
                client.send(upgrade[30:] + framing + body[:5])
                client.send(body[5:])
        answer = client.answer()
        assert (answer.status, "connection" in answer.headers) == (200, False)
    assert client.ask(GET_PING).status == 200
    assert len(users.calls) == calls + 2


@pytest.mark.parametrize("upgrade", [H2C, WEBSOCKET])
def test_pipelined_requests_with_upgrade(gateway: Process, connect: Connect, upgrade: bytes) -> None:
    get = GET_PING.removesuffix(b"\r\n") + upgrade + b"\r\n"
    post = POST_LOGIN + upgrade + LENGTH + BODY
    client = connect(gateway)
    client.send(get + post + get + post + GET_PING)
    assert [client.answer().body[:9] for _ in range(5)] == [
        b'{"message',
        b'{"code":2',
        b'{"message',
        b'{"code":2',
        b'{"message',
    ]


def test_body_behind_an_upgrade_is_no_request(gateway: Process, connect: Connect) -> None:
    smuggled = b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"
    client = connect(gateway)
    client.send(b"POST /ping HTTP/1.1\r\nHost: x\r\n" + H2C + b"Content-Length: %d\r\n\r\n" % len(smuggled))
    client.send(smuggled + GET_PING)
    assert [client.answer().status, client.answer().status] == [405, 200]


def test_upgrade_with_close_closes(gateway: Process, connect: Connect) -> None:
    client = connect(gateway)
    answer = client.ask(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade\r\nUpgrade: h2c\r\n\r\n")
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert client.is_closed()


@pytest.mark.parametrize("count", [95, 96])
def test_fields_of_an_upgrade_count(gateway: Process, connect: Connect, count: int) -> None:
    """Host, the three of the Upgrade and one more are five."""
    head = b"GET /ping HTTP/1.1\r\nHost: x\r\n" + H2C + b"A: b\r\n" + b"X: y\r\n" * count + b"\r\n"
    assert connect(gateway).ask(head).status == (200 if count == 95 else 431)
