"""Answers other than 200: the plain shape that clients parse, or problem details (RFC 9457)."""

import random
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import NamedTuple

import orjson
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

Headers = Sequence[tuple[bytes, bytes]]

JSON = b"application/json"
PROBLEM_JSON = b"application/problem+json"
MAX_ACCEPT = 1024
"""Bytes of an Accept header; a longer one is ignored, as it would be parsed on the event loop."""

_TITLES = {413: "Content Too Large"}  # RFC 9110's words, which Python has from 3.13 on


class FieldError(NamedTuple):
    """A violation of the contract."""

    pointer: str | None
    """A JSON Pointer (RFC 6901) into the body, None for parameters."""
    field: str
    """The name of the field or parameter."""
    reason: str


class Problem(Exception):  # noqa: N818  # RFC 9457's word
    """A request that ends in an answer other than 200.

    Nothing in it may come from the request, so that no answer and no log line repeats what a client sent.
    """

    def __init__(
        self,
        status: int,
        msg: str,
        *,
        headers: Headers = (),
        extra: Mapping[str, object] | None = None,
        errors: Sequence[FieldError] = (),
    ) -> None:
        super().__init__(status, msg)
        self.status = status
        self.msg = msg
        self.headers = headers
        self.extra = extra or {}
        self.errors = errors

    def render(self, accept: bytes, instance: str) -> tuple[bytes, bytes]:
        """Return the content type and the body that suit the Accept header `accept`."""
        if not _prefers_problem_json(accept):
            return JSON, orjson.dumps({"code": self.status, "msg": self.msg, **self.extra})
        problem: dict[str, object] = {
            "type": "about:blank",
            "title": _TITLES.get(self.status) or HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.msg,
            "instance": instance,
        }
        if self.errors:
            problem["errors"] = [
                {"parameter": error.field, "detail": error.reason}
                if error.pointer is None
                else {"pointer": error.pointer, "detail": error.reason}
                for error in self.errors
            ]
        return PROBLEM_JSON, orjson.dumps(problem)


class ClientGoneError(Exception):
    """The client hung up; no response can be sent."""


def _prefers_problem_json(accept: bytes) -> bool:
    if b"problem+json" not in accept or len(accept) > MAX_ACCEPT:
        return False
    offered = parse_accept_header(accept.decode("latin-1"), MIMEAccept)
    return offered.best_match([PROBLEM_JSON.decode(), JSON.decode()]) == PROBLEM_JSON.decode()


def bad_request(*errors: FieldError) -> Problem:
    """A request that breaks the contract; the first error is the one in the message."""
    return Problem(400, f"参数错误: {errors[0].field}: {errors[0].reason}", errors=errors)


def bad_body(reason: str) -> Problem:
    """A body that breaks the contract as a whole."""
    return bad_request(FieldError("", "body", reason))


def unauthorized(msg: str, extra: Mapping[str, object] | None = None) -> Problem:
    """No valid credentials."""
    return Problem(401, msg, headers=[(b"www-authenticate", b"Bearer")], extra=extra)


def invalid_token() -> Problem:
    """An invalid, expired or revoked token."""
    return unauthorized("未授权: 无效的 Token")


def account_disabled() -> Problem:
    """The password was right, but an operator disabled the account."""
    return Problem(403, "账号已停用")


def wrong_current_password() -> Problem:
    """The token was valid, but not the password that the operation requires."""
    return Problem(403, "当前密码错误")


def no_session() -> Problem:
    """No session of that id, or one of another user: the responses are equal."""
    return Problem(404, "会话不存在")


def not_found() -> Problem:
    """No route."""
    return Problem(404, "接口不存在")


def method_not_allowed(allow: str) -> Problem:
    """No such method on this route; `allow` lists those there are."""
    return Problem(405, "请求方法不允许", headers=[(b"allow", allow.encode())])


def request_timeout() -> Problem:
    """A body that is too slow; the rest of it would follow on the connection, so it is closed."""
    return Problem(408, "请求超时", headers=[(b"connection", b"close")])


def name_taken() -> Problem:
    """A user of that name exists."""
    return Problem(409, "用户名已存在", extra={"user_id": 0})


def content_too_large() -> Problem:
    """A body over the limit."""
    return Problem(413, "请求体过大")


def unsupported_media_type() -> Problem:
    """A body that is not JSON by its headers."""
    return Problem(415, "请求体必须是 JSON")


def throttled(retry_after: int) -> Problem:
    """More tries than the name or the address is allowed; the next one is, after `retry_after` seconds."""
    return Problem(429, "尝试次数过多，请稍后重试", headers=[(b"retry-after", b"%d" % retry_after)])


def internal_error() -> Problem:
    """Anything unforeseen."""
    return Problem(500, "服务器内部错误")


def unavailable(retry_after: int | None = None) -> Problem:
    """No usable user service, or its database is unavailable; `retry_after` is in seconds."""
    headers = [(b"retry-after", b"%d" % retry_after)] if retry_after is not None else []
    return Problem(503, "服务暂时不可用，请稍后重试", headers=headers)


def busy(retry_after: int) -> Problem:
    """More passwords at once than can be checked in the next `retry_after` seconds.

    What is answered is up to 4 s more, at random, so that the refused do not all return at once.
    """
    seconds = retry_after + random.randint(0, 4)  # noqa: S311
    return Problem(503, "服务繁忙，请稍后重试", headers=[(b"retry-after", b"%d" % seconds)])
