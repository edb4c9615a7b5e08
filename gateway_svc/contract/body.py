"""Bodies of requests: read within limits, parsed strictly, checked by their schema."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.types import Message, Receive

from gateway_svc import problems
from gateway_svc.contract.schema import Schema, Violation
from gateway_svc.problems import ClientGoneError, FieldError

MAX_BODY = 64 * 1024
"""Bytes."""


class Body:
    """The body of one operation."""

    def __init__(self, schema: Mapping[str, Any], where: str, *, timeout: float) -> None:
        """Compile `schema`; a body may take `timeout` seconds to arrive.

        Raises:
            ValueError: as `Schema` does.
        """
        self._schema = Schema(schema, where)
        self._timeout = timeout

    async def read(self, headers: Mapping[bytes, bytes], receive: Receive) -> Any:
        """Return the parsed body, which keeps the schema.

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
        """Return the value of the JSON text `raw`, which keeps the schema.

        Raises:
            Problem: 400.
        """
        value = parse(raw)
        try:
            if self._schema.is_valid(value):
                return value
            violations = self._schema.violations(value)
        except ValueError:  # nesting deeper than the validator goes
            raise problems.bad_body("嵌套过深") from None
        raise problems.bad_request(*map(_field_error, violations))

    async def _receive(self, receive: Receive) -> bytes:
        try:
            async with asyncio.timeout(self._timeout):
                message = await receive()
                raw = _part(message)
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


def _field_error(violation: Violation) -> FieldError:
    pointer = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in violation.path)
    return FieldError(f"#{pointer}", violation.path[0] if violation.path else "body", violation.reason)
