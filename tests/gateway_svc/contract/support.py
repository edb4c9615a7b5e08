"""An application that serves a contract of a test's own, and the contract's parts."""

import asyncio
import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from starlette.types import Message

from gateway_svc import app
from gateway_svc.health import Health
from gateway_svc.middleware import Authenticate
from gateway_svc.problems import Headers, unauthorized
from service_kit.telemetry.access_log import AccessLog


class Reply(NamedTuple):
    status: int
    body: Any
    headers: Mapping[str, str]


def contract(**operation: Any) -> dict[str, Any]:
    """A contract of one operation, `GET /things/{thing}` when it has a path parameter, else `POST` or `GET /things`."""
    parameters = operation.get("parameters", [])
    path = "/things" + "".join(f"/{{{each['name']}}}" for each in parameters if each["in"] == "path")
    method = "post" if "requestBody" in operation else "get"
    described = {"operationId": "handle", "responses": {"200": {"description": "Done."}}, **operation}
    return {
        "openapi": "3.0.3",
        "info": {"title": "Test", "version": "1"},
        "paths": {path: {method: described}},
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def body(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def parameter(place: str, schema: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    required = {"required": True} if place == "path" else {}
    return {"name": "X-Thing" if place == "header" else "thing", "in": place, "schema": schema, **required, **more}


def refuse(_: object) -> object:
    raise unauthorized("no")


def serve(described: dict[str, Any], *, authenticate: Authenticate = refuse, **handlers: Any) -> "Application":
    """Compile a contract.

    Raises:
        ValueError: when the gateway does not support it.
    """
    return Application(
        app.serve(
            described,
            SimpleNamespace(**handlers),
            authenticate=authenticate,
            health=Health(),
            body_timeout=1,
            access_log=AccessLog("test", "request", 0),
        )
    )


class Application:
    """What was compiled, asked without a server."""

    def __init__(self, asgi: Any) -> None:
        self._asgi = asgi

    def ask(self, method: str, target: str, body: bytes = b"", headers: Headers = ()) -> Reply:
        return asyncio.run(self._ask(method, target, body, headers))

    async def _ask(self, method: str, target: str, body: bytes, headers: Headers) -> Reply:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        path, query = urlsplit(target)[2:4]
        scope = {
            "type": "http",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "client": ("127.0.0.1", 1),
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
                *headers,
            ],
        }
        await self._asgi(scope, receive, send)
        text = sent[1]["body"]
        got = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
        return Reply(sent[0]["status"], json.loads(text) if text else None, got)
