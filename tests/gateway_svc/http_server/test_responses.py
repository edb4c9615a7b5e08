"""The bytes of responses of any ASGI application on the gateway's server."""

import asyncio
import re
import socket
from collections.abc import Sequence

import pytest
import uvloop
from starlette.types import Message, Receive, Scope, Send

from gateway_svc.http_server.server import HttpServer

OK = b"HTTP/1.1 200 OK\r\n"
TEXT = (b"content-type", b"text/plain")
HELLO: Message = {"type": "http.response.body", "body": b"hello"}
HELLO_AND_MORE: Message = {**HELLO, "more_body": True}
LAST_GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def exchange(messages: Sequence[Message], method: bytes = b"GET") -> bytes:
    """Return what a client reads when an application sends `messages`, without the Date."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    async def converse() -> bytes:
        server = HttpServer(application, head_timeout=5, keep_alive_timeout=5, max_connections=10, grace=1)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            await server.listening(serving)
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n" + LAST_GET)
            read = await reader.read()
            server.should_exit = True
            await serving
            writer.close()
        return re.sub(rb"date: [^\r]*\r\n", b"", read)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(converse(), 20))


def start(*fields: tuple[bytes, bytes]) -> Message:
    return {"type": "http.response.start", "status": 200, "headers": fields}


def test_whole_response_equals_uvicorns() -> None:
    head = OK + b"content-type: text/plain\r\ncontent-length: 5\r\n"
    sent = exchange([start(TEXT, (b"content-length", b"5")), HELLO])
    assert sent == head + b"\r\nhello" + head + b"connection: close\r\n\r\nhello"


def test_head_request_gets_no_body() -> None:
    sent = exchange([start((b"content-length", b"5")), HELLO], b"HEAD")
    assert sent.startswith(OK + b"content-length: 5\r\n\r\nHTTP/1.1 200")


def test_stream_is_sent_in_chunks() -> None:
    sent = exchange([start(TEXT), HELLO_AND_MORE, HELLO])
    head = OK + b"content-type: text/plain\r\ntransfer-encoding: chunked\r\n"
    assert sent.startswith(head + b"\r\n5\r\nhello\r\n5\r\nhello\r\n0\r\n\r\n")


def test_application_can_close_the_connection() -> None:
    assert exchange([start((b"content-length", b"5"), (b"connection", b"close")), HELLO]).count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb", b"a\0b"])
def test_field_cannot_split_a_response(value: bytes) -> None:
    assert exchange([start((b"x-own", value), (b"content-length", b"5")), HELLO]) == b""


def test_wrong_content_length_sends_no_body() -> None:
    assert b"hello" not in exchange([start((b"content-length", b"4")), HELLO])
