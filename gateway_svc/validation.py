"""Bodies against the contract: read within limits, parsed strictly, checked by the schema of openapi.yaml."""

import asyncio
import json
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

import jsonschema_rs
import orjson
from starlette.types import Message, Receive

from gateway_svc import problems
from gateway_svc.problems import ClientGoneError, FieldError

MAX_BODY = 64 * 1024
"""Bytes."""
MAX_PASSWORD_BYTES = 72
"""What bcrypt takes in; more would be ignored or refused."""
MAX_ERRORS = 16


def is_bcrypt_password(value: str) -> bool:
    """Tell whether bcrypt takes in all of `value`: at most 72 bytes of UTF-8 and no NUL."""
    return len(value.encode()) <= MAX_PASSWORD_BYTES and "\0" not in value


FORMATS: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "bcrypt-password": (is_bcrypt_password, f"UTF-8 编码后不能超过 {MAX_PASSWORD_BYTES} 字节，且不能包含 NUL 字符"),
}
"""The formats that the contract adds to OpenAPI's: the check and the reason given for a refusal."""

_JSON_TYPES = {
    "object": " JSON 对象",
    "array": "数组",
    "string": "字符串",
    "integer": "整数",
    "number": "数字",
    "boolean": "布尔值",
    "null": "null",
}
_Kind = jsonschema_rs.ValidationErrorKind


class BodyValidator:
    """Validates the bodies of one operation."""

    def __init__(self, schema: Mapping[str, Any], *, timeout: float) -> None:
        """Compile `schema`; a body may take `timeout` seconds to arrive.

        Raises:
            ValueError: when the schema is not valid, or uses a format that nothing checks.
        """
        self._schema = schema
        self._timeout = timeout
        self._validator = jsonschema_rs.Draft4Validator(
            dict(schema),
            formats={name: check for name, (check, _) in FORMATS.items()},
            validate_formats=True,
            ignore_unknown_formats=False,
            pattern_options=jsonschema_rs.RegexOptions(),  # linear time, no backtracking
        )

    async def read(self, headers: Mapping[bytes, bytes], receive: Receive) -> Any:
        """Return the parsed body, which satisfies the schema.

        Raises:
            Problem: 400, 408, 413 or 415.
            ClientGoneError: when the client hangs up before the end of the body.
        """
        announced = headers.get(b"content-length")
        if announced is not None and int(announced) > MAX_BODY:
            raise problems.content_too_large()
        if announced != b"0" and (announced is not None or b"transfer-encoding" in headers):
            _check_type(headers)
        raw = await self._receive(receive)
        if not raw:
            raise problems.bad_body("请求体不能为空")
        return self.validate(raw)

    def validate(self, raw: bytes) -> Any:
        """Return the value of the JSON text `raw`, which satisfies the schema.

        Raises:
            Problem: 400.
        """
        value = parse(raw)
        try:
            if self._validator.is_valid(value):
                return value
            errors = list(islice(self._validator.iter_errors(value), MAX_ERRORS))
        except ValueError:  # nesting deeper than the validator goes
            raise problems.bad_body("嵌套过深") from None
        raise problems.bad_request(*map(self._explain, errors))

    async def _receive(self, receive: Receive) -> bytes:
        try:
            async with asyncio.timeout(self._timeout):
                message = await receive()
                raw: bytes = _part(message)
                while message.get("more_body", False):
                    message = await receive()
                    raw += _part(message)
                    if len(raw) > MAX_BODY:
                        break
        except TimeoutError:
            raise problems.request_timeout() from None
        if len(raw) > MAX_BODY:
            raise problems.content_too_large()
        return raw

    def _explain(self, error: jsonschema_rs.ValidationError) -> FieldError:
        path = [str(step) for step in error.instance_path]
        match error.kind:
            case _Kind.Required(property=name):
                return _field_error([*path, name], "缺少该字段")
            case _Kind.Type(types=types):
                return _field_error(path, f"必须是{'或'.join(_JSON_TYPES[each] for each in types)}")
            case _Kind.MinLength(limit=limit):
                return _field_error(path, f"至少 {limit} 个字符")
            case _Kind.MaxLength(limit=limit):
                return _field_error(path, f"至多 {limit} 个字符")
            case _Kind.Format(format=name):
                return _field_error(path, FORMATS[name][1])
            case _Kind.AdditionalProperties():
                return _field_error(path, "包含未定义的字段")
        return _field_error(path, self._reason(error))

    def _reason(self, error: jsonschema_rs.ValidationError) -> str:
        """Return the contract's own words, `x-<keyword>-reason` beside the keyword that was broken."""
        place: Any = self._schema
        for step in error.schema_path[:-1]:
            place = place[step]
        return str(place.get(f"x-{error.schema_path[-1]}-reason", "不符合接口约定"))


def parse(raw: bytes) -> Any:
    """Return the value of a JSON text (RFC 8259), whose objects must have each key once.

    Raises:
        Problem: 400, for anything that orjson refuses (a byte order mark, bad UTF-8, lone surrogates, NaN, numbers
            beyond a double) and for duplicate keys, which orjson lets pass.
    """
    try:
        value = orjson.loads(raw)
        _unique.decode(raw.decode())
    except _DuplicateKeyError:
        raise problems.bad_body("包含重复的字段") from None
    except (ValueError, RecursionError):
        raise problems.bad_body("不是有效的 JSON") from None
    return value


class _DuplicateKeyError(Exception):
    pass


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise _DuplicateKeyError


# Only its hook is of interest: numbers are not converted, since long ones cost quadratic time.
_unique = json.JSONDecoder(object_pairs_hook=_refuse_duplicates, parse_int=len, parse_float=len)


def _check_type(headers: Mapping[bytes, bytes]) -> None:
    media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if media_type != b"application/json" or headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise problems.unsupported_media_type()


def _part(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    part: bytes = message.get("body", b"")
    return part


def _field_error(path: list[str], reason: str) -> FieldError:
    pointer = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in path)
    return FieldError(f"#{pointer}", path[0] if path else "body", reason)
