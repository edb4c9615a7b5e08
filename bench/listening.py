"""How the processes of a measurement begin to serve and say on which port."""

import json
import socket
import sys
from typing import Any

import uvicorn


def announce(port: int) -> None:
    """Write the line that `bench.processes` waits for."""
    print(json.dumps({"message": "listening", "port": port}), file=sys.stderr, flush=True)


def serve(app: Any, **options: Any) -> None:
    """Serve an ASGI application on stock uvicorn with the gateway's parts."""
    config = uvicorn.Config(app, log_config=None, access_log=False, loop="uvloop", http="httptools", **options)
    run(uvicorn.Server(config))


def run(server: uvicorn.Server) -> None:
    """Serve on a free port of loopback."""
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        announce(listener.getsockname()[1])
        server.run(sockets=[listener])
