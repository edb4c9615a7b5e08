"""Bad input never gives a 5xx, a hang, a traceback, a call to the user service, or an echo of what was sent."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway_svc.tokens import MAX_GENERATION, AccessTokens, Keys
from tests.gateway_svc.conftest import CREDENTIALS, SECRET, raw
from tests.support.process import Process
from tests.support.users_stub import UsersStub

JSON = {"Content-Type": "application/json"}
CANARY = "c4naryzq"
PATHS = ["/api/register", "/api/login", "/api/sessions"]
TOKEN = AccessTokens(
    Keys(SECRET), issuer="video-platform", audience="video-platform", is_revoked=lambda _: False
).issue(1, "testuser123", MAX_GENERATION)
AUTHORIZED = {**JSON, "Authorization": f"Bearer {TOKEN}"}
OTHERS: dict[str, dict[str, str]] = {
    "PUT /api/password": {"current_password": "password123", "new_password": "correct horse"},
    "POST /api/account/delete": {"password": "password123"},
    "POST /api/sessions/refresh": {"refresh_token": "vpr_x"},
    "POST /api/sessions/end": {"refresh_token": "vpr_x"},
}
"""The other operations with a body, with a valid one."""


def text(**changes: Any) -> bytes:
    return json.dumps({**CREDENTIALS, **changes}).encode()


def not_json(value: str) -> bytes:
    return f'{{"username":"testuser123","password":"{value}"}}'.encode()


NAME_LENGTHS = {2: "至少 3 个字符", 21: "至多 20 个字符"}
PASSWORD_LENGTHS = {5: "至少 6 个字符", 33: "至多 32 个字符"}
BYTES = "UTF-8 编码后不能超过 72 字节，且不能包含 NUL 字符"
CHARACTERS = "只能包含字母、数字和下划线"
NOT_JSON = "body: 不是有效的 JSON"

REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "body: 请求体不能为空"),
    "blanks": (b"  \r\n", NOT_JSON),
    "null": (b"null", "body: 必须是 JSON 对象"),
    "true": (b"true", "body: 必须是 JSON 对象"),
    "a number": (b"4211", "body: 必须是 JSON 对象"),
    "a string": (b'"c4naryzq"', "body: 必须是 JSON 对象"),
    "a list": (b'["c4naryzq"]', "body: 必须是 JSON 对象"),
    "an empty object": (b"{}", "username: 缺少该字段"),
    "no password": (b'{"username":"testuser123"}', "password: 缺少该字段"),
    "no username": (b'{"password":"password123"}', "username: 缺少该字段"),
    "an unknown field": (text(c4naryzq=1), "body: 包含未定义的字段"),
    "duplicate keys": (b'{"username":"testuser123","password":"x","password":"c4naryzq"}', "body: 包含重复的字段"),
    "duplicate keys, one escaped": (b'{"username":"c4naryzq","\\u0075sername":"c4naryzq"}', "body: 包含重复的字段"),
    "nested duplicate keys": (b'{"username":{"a":1,"a":2},"password":"c4naryzq"}', "body: 包含重复的字段"),
    "a byte order mark": (b"\xef\xbb\xbf" + text(), NOT_JSON),
    "UTF-16": (text().decode().encode("utf-16"), NOT_JSON),
    "UTF-32": (text().decode().encode("utf-32"), NOT_JSON),
    "bad UTF-8": (b'{"username":"testuser123","password":"c4naryzq\xff"}', NOT_JSON),
    "a surrogate in UTF-8": (b'{"username":"testuser123","password":"c4naryzq\xed\xa0\x80"}', NOT_JSON),
    "a lone surrogate": (not_json("c4naryzq\\ud800"), NOT_JSON),
    "surrogates the wrong way round": (not_json("c4naryzq\\udc00\\ud800"), NOT_JSON),
    "a control character": (not_json("c4naryzq\x01"), NOT_JSON),
    "NaN": (b'{"username":NaN,"password":"c4naryzq"}', NOT_JSON),
    "Infinity": (b'{"username":-Infinity,"password":"c4naryzq"}', NOT_JSON),
    "a number beyond a double": (b'{"username":1e999,"password":"c4naryzq"}', NOT_JSON),
    "an integer of 10,000 digits": (b'{"username":' + b"9" * 10_000 + b',"password":"c4naryzq"}', NOT_JSON),
    "33 levels of lists": (b"[" * 33 + b"]" * 33, "body: 必须是 JSON 对象"),
    "33 levels of objects": (b'{"username":' * 33 + b"1" + b"}" * 33, "password: 缺少该字段"),
    "900 levels": (b'{"username":' * 900 + b"1" + b"}" * 900, "body: 嵌套过深"),
    "30,000 levels": (b"[" * 30_000, NOT_JSON),
    "trailing junk": (text() + b"c4naryzq", NOT_JSON),
    "a comment": (b"/**/" + text(), NOT_JSON),
    "single quotes": (b"{'username':'testuser123'}", NOT_JSON),
    "a form": (b"username=testuser123&password=c4naryzq", NOT_JSON),
    "cut off": (text()[:-1], NOT_JSON),
    "a NUL byte": (b"\0", NOT_JSON),
    "a NUL in the password": (not_json("c4naryzq\\u0000"), f"password: {BYTES}"),
    "a NUL in the username": (text(username="c4naryzq\0"), f"username: {CHARACTERS}"),
    "a trailing newline in the username": (text(username="c4naryzq\n"), f"username: {CHARACTERS}"),
    "a letter outside ASCII": (text(username="c4naryzqé"), f"username: {CHARACTERS}"),
    "a digit outside ASCII": (text(username="c4naryzq١"), f"username: {CHARACTERS}"),
    "25 four-byte characters": (text(password="😀" * 25), f"password: {BYTES}"),
    "73 bytes": (text(password="😀" * 18 + "x"), f"password: {BYTES}"),
} | {
    f"a username of {length}": (text(username="c4naryzq"[:1] * length), f"username: {reason}")
    for length, reason in NAME_LENGTHS.items()
} | {
    f"a password of {length}": (text(password="z" * length), f"password: {reason}")
    for length, reason in PASSWORD_LENGTHS.items()
} | {
    f"{field}: {value!r}": (text(**{field: value}), f"{field}: 必须是字符串")
    for field in CREDENTIALS
    for value in (None, True, 0, 1.5, [], ["c4naryzq"], {}, {"c4naryzq": "c4naryzq"})
}  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_gets_through(users: UsersStub, gateway: Process) -> Iterator[None]:
    calls, lines = len(users.calls), len(gateway.records)
    yield
    assert len(users.calls) == calls
    new = gateway.records[lines:]
    assert {record["message"] for record in new} <= {
        "request",
        "Invalid HTTP request received.",
        "Request head too large.",
    }
    assert CANARY not in json.dumps(new)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("path", PATHS)
def test_bodies_that_break_the_contract(client: httpx.Client, path: str, name: str) -> None:
    body, expected = REFUSED[name]
    answer = client.post(path, content=body, headers=JSON)
    assert (answer.status_code, answer.json()) == (400, {"code": 400, "msg": f"参数错误: {expected}"})
    assert CANARY not in str(answer.headers)


@pytest.mark.parametrize("name", [name for name, (_, reason) in REFUSED.items() if reason.startswith("body: ")])
@pytest.mark.parametrize("operation", OTHERS)
def test_bodies_that_no_operation_takes(client: httpx.Client, operation: str, name: str) -> None:
    body, expected = REFUSED[name]
    if name == "an unknown field":
        body = json.dumps({**OTHERS[operation], "c4naryzq": 1}).encode()
    method, path = operation.split()
    answer = client.request(method, path, content=body, headers=AUTHORIZED)
    assert (answer.status_code, answer.json()) == (400, {"code": 400, "msg": f"参数错误: {expected}"})


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    f"{operation} {field}: {value!r:.20}": ({**body, field: value}, f"{field}: {reason}")
    for operation, body in OTHERS.items()
    for field in {**body, "device_token": ""}
    if not (field == "device_token" and "sessions" in operation)
    for value, reason in [
        *((value, "必须是字符串") for value in (None, True, 0, 1.5, [], ["c4naryzq"], {"c4naryzq": 1})),
        *([(b"c4naryzq".hex() * 65, "至多 1024 个字符")] if field.endswith("_token") else []),
        *([("z" * 33, "至多 32 个字符"), ("c4naryzq\0", BYTES), ("😀" * 19, BYTES)] if "password" in field else []),
        *([("z" * 7, "至少 8 个字符")] if field == "new_password" else []),
        *([("z" * 5, "至少 6 个字符")] if field in ("password", "current_password") else []),
        *([("", "至少 1 个字符")] if field == "refresh_token" else []),
    ]
} | {
    f"{operation} without {field}": ({each: body[each] for each in body if each != field}, f"{field}: 缺少该字段")
    for operation, body in OTHERS.items()
    for field in body
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_fields_that_break_the_contract(client: httpx.Client, name: str) -> None:
    body, expected = WRONG[name]
    method, path = name.split()[:2]
    answer = client.request(method, path, json=body, headers=AUTHORIZED)
    assert (answer.status_code, answer.json()) == (400, {"code": 400, "msg": f"参数错误: {expected}"})


@pytest.mark.parametrize("operation", ["PUT /api/password", "POST /api/account/delete"])
def test_the_token_is_checked_before_the_body(client: httpx.Client, operation: str) -> None:
    method, path = operation.split()
    for body in (b"", b"c4naryzq", json.dumps(OTHERS[operation]).encode()):
        answer = client.request(method, path, content=body, headers=JSON)
        assert (answer.status_code, answer.json()["msg"]) == (401, "未授权: 缺少 Authorization 头")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": ""},
        {"Content-Type": "text/plain"},
        {"Content-Type": "text/json"},
        {"Content-Type": "application/problem+json"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/jsonx"},
        {"Content-Type": "x; application/json"},
        {"Content-Type": "application/json, text/plain"},
        {"Content-Type": "\xff"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
@pytest.mark.parametrize("path", PATHS)
def test_bodies_that_are_not_json_by_their_headers(client: httpx.Client, path: str, headers: dict[str, str]) -> None:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    answer = client.post(path, content=text(), headers=encoded)
    assert (answer.status_code, answer.json()) == (415, {"code": 415, "msg": "请求体必须是 JSON"})


def chunked(body: bytes, size: int = 8192) -> Iterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("how", ["content-length", "chunked"])
def test_bodies_at_and_over_the_limit(client: httpx.Client, path: str, how: str) -> None:
    for size, status in [(65_536, 400), (65_537, 413), (1_000_000, 413)]:
        body = b'"' + b"z" * (size - 2) + b'"'
        answer = client.post(path, content=body if how == "content-length" else chunked(body), headers=JSON)
        assert answer.status_code == status, size
        if status == 413:
            assert answer.text == '{"code":413,"msg":"请求体过大"}'
    assert client.get("/ping").status_code == 200


def test_announced_oversized_body_is_refused_early(gateway: Process) -> None:
    head = b"POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n"
    answer = raw(gateway, head + b"Expect: 100-continue\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("framing", [b"Content-Length: 30\r\n", b"Transfer-Encoding: chunked\r\n"])
@pytest.mark.parametrize("start", [b"", b'{"user'])
def test_a_body_that_trickles(gateway: Process, framing: bytes, start: bytes) -> None:
    """The gateway under test waits one second for a body, where ten are the default."""
    if b"chunked" in framing and start:
        start = b"%x\r\n%s\r\n" % (len(start), start)
    head = b"POST /api/login HTTP/1.1\r\nHost: x\r\nX-Trace-ID: slow\r\nContent-Type: application/json\r\n"
    answer = raw(gateway, head + framing + b"\r\n" + start)
    status, _, rest = answer.partition(b"\r\n")
    assert status == b"HTTP/1.1 408 Request Timeout"
    assert b"\r\nx-trace-id: slow\r\n" in rest
    assert rest.lower().count(b"connection: close") == 1
    assert rest.endswith('{"code":408,"msg":"请求超时"}'.encode())


def test_a_body_in_drops_that_never_ends(gateway: Process) -> None:
    head = b"POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
        connection.sendall(head)
        connection.settimeout(0.05)
        answer, deadline = b"", time.monotonic() + 5
        while not answer and time.monotonic() < deadline:
            connection.sendall(b"{")
            try:
                answer = connection.recv(4096)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "sent",
    ["", " ", "x" * 65, "a b", "a\tb", "ä", "<script>", "a;b", "../x", "a,b", "%0d%0aSet-Cookie:x", "\x80\xff"],
)
def test_a_bad_trace_id_is_replaced(client: httpx.Client, sent: str) -> None:
    answer = client.get("/ping", headers=[(b"X-Trace-ID", sent.strip(" ").encode("latin-1"))])
    assert answer.status_code == 200
    made = answer.headers["x-trace-id"]
    assert made != sent
    assert len(made) == 32
    int(made, 16)


@pytest.mark.parametrize("sent", ["a", "A-z.0_9", "x" * 64, "-"])
def test_a_good_trace_id_is_kept(client: httpx.Client, sent: str) -> None:
    for path in ("/ping", "/nowhere", "/api/login", "/docs"):
        assert client.get(path, headers={"X-Trace-ID": sent}).headers["x-trace-id"] == sent


def test_header_injection(gateway: Process) -> None:
    for injected in (
        b"x\r\nSet-Cookie: c4naryzq=1",
        b"x\nSet-Cookie: c4naryzq=1",
        b"x\rSet-Cookie: c4naryzq=1",
        b"x\0y",
    ):
        answer = raw(
            gateway, b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Trace-ID: " + injected + b"\r\n\r\n"
        )
        head = answer.partition(b"\r\n\r\n")[0].lower()
        assert head.startswith((b"http/1.1 200 ", b"http/1.1 400 "))
        assert b"set-cookie" not in head
        assert b"c4naryzq" not in answer


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET //ping HTTP/1.1",
        b"GET /ping%0d%0aX:y HTTP/1.1",
        b"GET /%ff%fe HTTP/1.1",
        b"GET /ping/../api/login HTTP/1.1",
        b"GET /" + b"c4naryzq" * 1000 + b" HTTP/1.1",
        b"GET http://elsewhere/nowhere HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"CONNECT elsewhere:443 HTTP/1.1",
        b"PROPFIND / HTTP/1.1",
        b"BREW /ping HTTP/1.1",
        b"get /ping HTTP/1.1",
        b"GET /ping HTTP/3.7",
        b"GET  HTTP/1.1",
        b"GET",
        b"\0\0\0\0",
    ],
)
def test_odd_request_lines(gateway: Process, request_line: bytes) -> None:
    answer = raw(gateway, request_line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.split(b" ")[1] in (b"400", b"404", b"405")
    assert b"c4naryzq" not in answer


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"GET /", b"x" * 65_536),
        (b"GET /ping HTTP/1.1\r\nHost: x\r\nX-A: ", b"x" * 65_536),
        (b"GET /ping HTTP/1.1\r\nHost: x\r\n", b"X-B: yyyyyyyyyy\r\n" * 4096),
    ],
)
def test_a_head_without_end(gateway: Process, start: bytes, more: bytes) -> None:
    """It is refused long before the sixteen mebibytes that are offered here."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
        connection.sendall(start)
        with pytest.raises(ConnectionError):  # noqa: PT012  # whichever piece it is that is not taken
            for _ in range(256):
                connection.sendall(more)
            raise AssertionError("all of it was taken")


def test_a_large_head_is_fine(client: httpx.Client) -> None:
    for _ in range(3):
        assert client.get("/ping", headers={f"X-{number}": "y" * 600 for number in range(50)}).status_code == 200


def test_a_query_string_changes_nothing(client: httpx.Client) -> None:
    answer = client.get("/ping?password=c4naryzq&x[]=%00&&=")
    assert (answer.status_code, answer.content) == (200, b'{"message":"pong"}')


def test_bodies_where_none_is_expected_are_ignored(client: httpx.Client) -> None:
    assert client.request("GET", "/ping", content=b"c4naryzq" * 10_000).status_code == 200
    assert client.get("/ping").status_code == 200


def test_pipelined_requests_are_answered_in_order(gateway: Process) -> None:
    one = b"GET /ping HTTP/1.1\r\nHost: x\r\nX-Trace-ID: %d\r\n\r\n"
    last = b"GET /nowhere HTTP/1.1\r\nHost: x\r\nX-Trace-ID: 3\r\nConnection: close\r\n\r\n"
    answers = raw(gateway, one % 1 + one % 2 + last)
    assert [line for line in answers.split(b"\r\n") if line.startswith(b"x-trace-id")] == [
        b"x-trace-id: 1",
        b"x-trace-id: 2",
        b"x-trace-id: 3",
    ]
