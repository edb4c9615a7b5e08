"""The least that a server can ask of an application: /ping, byte for byte as the gateway answers it, and no log."""

import os

from starlette.types import Receive, Scope, Send

from bench.listening import run, serve
from gateway_svc.http_server.server import HttpServer

BODY = b'{"message":"pong"}'
HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(BODY)),
    (b"x-trace-id", b"0123456789abcdef0123456789abcdef"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


if __name__ == "__main__":
    if os.environ.get("STOCK_UVICORN"):
        serve(app, lifespan="off", server_header=False)
    else:
        run(HttpServer(app, head_timeout=10, keep_alive_timeout=75, max_connections=10_000, grace=20))
