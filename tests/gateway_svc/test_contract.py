"""Answers that existing clients parse, byte for byte, and the shapes of errors."""

import json
import secrets
from typing import Any

import grpc
import httpx
import jwt
import pytest

from tests.gateway_svc.conftest import CREDENTIALS, SECRET, raw
from tests.support.process import Process
from tests.support.users_stub import UsersStub

PROBLEM = {"Accept": "application/problem+json"}


def test_ping(client: httpx.Client) -> None:
    answer = client.get("/ping")
    assert (answer.status_code, answer.content) == (200, b'{"message":"pong"}')
    assert answer.headers["content-type"] == "application/json"


def test_the_flow_of_a_user(client: httpx.Client, users: UsersStub) -> None:
    name = f"u_{secrets.token_hex(6)}"
    credentials = {"username": name, "password": "password123"}

    created = client.post("/api/register", json=credentials)
    user_id = created.json()["user_id"]
    assert (created.status_code, created.text) == (200, f'{{"code":200,"msg":"注册成功","user_id":{user_id}}}')

    again = client.post("/api/register", json={**credentials, "username": name.upper()})
    assert (again.status_code, again.text) == (409, '{"code":409,"msg":"用户名已存在","user_id":0}')

    wrong = client.post("/api/login", json={**credentials, "password": "password124"})
    assert (wrong.status_code, wrong.text) == (401, '{"code":401,"msg":"密码错误","token":"","user_id":0}')

    logged_in = client.post("/api/login", json={**credentials, "username": name.upper()})
    token = logged_in.json()["token"]
    expected = f'{{"code":200,"msg":"登录成功","token":"{token}","user_id":{user_id}}}'
    assert (logged_in.status_code, logged_in.text) == (200, expected)

    profile = client.get("/api/profile", headers={"Authorization": f"Bearer {token}"})
    expected = f'{{"code":200,"msg":"获取用户信息成功","data":{{"user_id":{user_id},"username":"{name}"}}}}'
    assert (profile.status_code, profile.text) == (200, expected)

    for answer in (created, again, wrong, logged_in, profile):
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers


def test_a_token_says_who_it_is_for(client: httpx.Client) -> None:
    client.post("/api/register", json=CREDENTIALS)
    answer = client.post("/api/login", json=CREDENTIALS).json()
    header = jwt.get_unverified_header(answer["token"])
    claims = jwt.decode(answer["token"], SECRET, ["HS256"])
    assert (header["alg"], header["typ"], len(header["kid"])) == ("HS256", "JWT", 8)
    assert claims.pop("exp") - claims.pop("iat") == 24 * 60 * 60
    assert len(claims.pop("jti")) == 32
    user_id = answer["user_id"]
    assert claims == {
        "user_id": user_id,
        "username": CREDENTIALS["username"],
        "sub": str(user_id),
        "iss": "video-platform",
        "gen": 0,
    }


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("abc", "123456"),
        ("A_9" + "z" * 17, "z" * 32),
        ("___", "😀" * 18),
        ("007", "pässwörd \t\n\x7f"),
    ],
)
def test_what_just_keeps_the_contract(client: httpx.Client, users: UsersStub, username: str, password: str) -> None:
    for path in ("/api/register", "/api/login"):
        calls = len(users.calls)
        answer = client.post(
            path,
            content=json.dumps({"password": password, "username": username}),
            headers={"Content-Type": "Application/JSON ; charset=utf-8", "Content-Encoding": "identity"},
        )
        assert (answer.status_code, len(users.calls)) == (200, calls + 1)


@pytest.mark.parametrize(
    ("headers", "msg"),
    [
        ({}, "未授权: 缺少 Authorization 头"),
        ({"Authorization": ""}, "未授权: 缺少 Authorization 头"),
        ({"Authorization": "Basic dXNlcjpwYXNz"}, "未授权: 认证格式错误"),
        ({"Authorization": "Bearer"}, "未授权: 认证格式错误"),
        ({"Authorization": "Bearer x"}, "未授权: 无效的 Token"),
        ({"Authorization": "Bearer x y"}, "未授权: 无效的 Token"),
    ],
)
def test_no_valid_credentials(client: httpx.Client, headers: dict[str, str], msg: str) -> None:
    answer = client.get("/api/profile", headers=headers)
    assert (answer.status_code, answer.text) == (401, f'{{"code":401,"msg":"{msg}"}}')
    assert answer.headers["www-authenticate"] == "Bearer"


def test_two_authorization_headers_are_neither(client: httpx.Client) -> None:
    token = jwt.encode({"user_id": 1, "username": "abc", "exp": 2**40}, SECRET, "HS256")
    both = [("Authorization", f"Bearer {token}"), ("Authorization", "Bearer x")]
    assert client.get("/api/profile", headers=both[:1]).status_code == 200
    assert client.get("/api/profile", headers=both).json() == {"code": 401, "msg": "未授权: 认证格式错误"}


@pytest.mark.parametrize("path", ["/", "/api", "/ping/", "/PING", "/api/login/", "/api%2Fprofile", "/metrics", "/%00"])
def test_no_route(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.text) == (404, '{"code":404,"msg":"接口不存在"}')


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/ping", "GET, HEAD, OPTIONS"),
        ("GET", "/api/login", "OPTIONS, POST"),
        ("HEAD", "/api/register", "OPTIONS, POST"),
        ("DELETE", "/api/profile", "GET, HEAD, OPTIONS"),
        ("TRACE", "/ping", "GET, HEAD, OPTIONS"),
        ("POST", "/docs", "GET, HEAD"),
        ("PUT", "/openapi.json", "GET, HEAD"),
    ],
)
def test_wrong_method(client: httpx.Client, method: str, path: str, allow: str) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)
    if method != "HEAD":
        assert answer.text == '{"code":405,"msg":"请求方法不允许"}'


def test_options_and_head(client: httpx.Client) -> None:
    options = client.options("/api/login")
    assert (options.status_code, options.headers["allow"], options.content) == (204, "OPTIONS, POST", b"")
    head, get = client.head("/ping"), client.get("/ping")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.parametrize(
    ("code", "status", "msg"),
    [
        (grpc.StatusCode.UNAVAILABLE, 503, "服务暂时不可用，请稍后重试"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 503, "服务暂时不可用，请稍后重试"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 503, "服务繁忙，请稍后重试"),
        (grpc.StatusCode.INTERNAL, 500, "服务器内部错误"),
        (grpc.StatusCode.UNKNOWN, 500, "服务器内部错误"),
        (grpc.StatusCode.UNIMPLEMENTED, 500, "服务器内部错误"),
        (grpc.StatusCode.PERMISSION_DENIED, 500, "服务器内部错误"),
    ],
)
@pytest.mark.parametrize("path", ["/api/register", "/api/login"])
def test_the_user_service_fails(
    client: httpx.Client, users: UsersStub, path: str, code: grpc.StatusCode, status: int, msg: str
) -> None:
    users.before = lambda _, context: context.abort(code, "details that stay inside")
    answer = client.post(path, json=CREDENTIALS)
    assert (answer.status_code, answer.text) == (status, f'{{"code":{status},"msg":"{msg}"}}')
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        assert 1 <= int(answer.headers["retry-after"]) <= 5
    else:
        assert "retry-after" not in answer.headers


@pytest.mark.parametrize(("said", "least"), [("17", 17), ("", 1), ("-3", 1), ("1e9", 1), ("9" * 40, 1)])
def test_busy_user_service_sets_retry_after(client: httpx.Client, users: UsersStub, said: str, least: int) -> None:
    def refuse(_: str, context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata((("retry-after", said),))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many passwords at once")

    users.before = refuse
    assert least <= int(client.post("/api/login", json=CREDENTIALS).headers["retry-after"]) <= least + 4


@pytest.mark.parametrize(
    ("code", "said", "status", "msg"),
    [
        (400, "参数错误: username: 太短", 400, "参数错误: username: 太短"),
        (400, "anything else", 400, "参数错误: body: 不符合接口约定"),
        (418, "unknown", 500, "服务器内部错误"),
        (0, "", 500, "服务器内部错误"),
    ],
)
@pytest.mark.parametrize("path", ["/api/register", "/api/login"])
def test_the_user_service_refuses(
    client: httpx.Client, users: UsersStub, path: str, code: int, said: str, status: int, msg: str
) -> None:
    users.refusal = code, said
    answer = client.post(path, json=CREDENTIALS)
    assert (answer.status_code, answer.json()) == (status, {"code": status, "msg": msg})


def test_problem_details(client: httpx.Client) -> None:
    body = {"username": "a\n", "extra": 1}
    answer = client.post("/api/login", json=body, headers={**PROBLEM, "X-Trace-ID": "t-1"})
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "参数错误: password: 缺少该字段",
        "instance": "/api/login#t-1",
        "errors": [
            {"pointer": "#/password", "detail": "缺少该字段"},
            {"pointer": "#/username", "detail": "至少 3 个字符"},
            {"pointer": "#/username", "detail": "只能包含字母、数字和下划线"},
            {"pointer": "#", "detail": "包含未定义的字段"},
        ],
    }


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (("GET", "/nowhere"), {"title": "Not Found", "status": 404, "detail": "接口不存在", "instance": "#t-2"}),
        (
            ("PUT", "/ping"),
            {"title": "Method Not Allowed", "status": 405, "detail": "请求方法不允许", "instance": "/ping#t-2"},
        ),
        (
            ("GET", "/api/profile"),
            {
                "title": "Unauthorized",
                "status": 401,
                "detail": "未授权: 缺少 Authorization 头",
                "instance": "/api/profile#t-2",
            },
        ),
    ],
)
def test_problem_details_of_other_errors(
    client: httpx.Client, request_: tuple[str, str], expected: dict[str, Any]
) -> None:
    answer = client.request(*request_, headers={**PROBLEM, "X-Trace-ID": "t-2"})
    assert answer.json() == {"type": "about:blank", **expected}


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/problem+json", "application/problem+json"),
        ("application/json, application/problem+json", "application/problem+json"),
        ("application/problem+json;q=0.5, application/json", "application/json"),
        ("application/problem+json;q=0", "application/json"),
        ("application/problem+json;q=x", "application/json"),
        ("*/*", "application/json"),
        ("text/html", "application/json"),
        ("", "application/json"),
        (",;=\xffproblem+json", "application/json"),
    ],
)
def test_which_shape_an_error_has(client: httpx.Client, accept: str, content_type: str) -> None:
    answer = client.get("/nowhere", headers=[(b"Accept", accept.encode("latin-1"))])
    assert (answer.status_code, answer.headers["content-type"]) == (404, content_type)


def test_success_is_never_a_problem(client: httpx.Client) -> None:
    assert client.get("/ping", headers=PROBLEM).headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /api/login HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{    }",
        b"POST /api/login HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /api/login HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n",
    ],
)
def test_malformed_http_gets_the_servers_own_400(gateway: Process, request_: bytes) -> None:
    assert raw(gateway, request_).startswith(b"HTTP/1.1 400 ")


def test_long_accept_header_is_ignored(client: httpx.Client) -> None:
    accept = "application/problem+json"
    assert client.get("/nowhere", headers={"Accept": accept}).headers["content-type"] == accept
    padded = ",".join([accept, *["text/plain;q=0.1"] * 70])
    assert client.get("/nowhere", headers={"Accept": padded}).headers["content-type"] == "application/json"
