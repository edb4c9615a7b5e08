"""A client that closes its connection cancels its request, whatever the gateway is waiting for."""

import asyncio
import json
import socket

import pytest
import uvloop
from starlette.types import Receive, Scope, Send

from gateway_svc.http_server import hang_up
from gateway_svc.http_server.server import HttpServer
from tests.gateway_svc.conftest import CREDENTIALS
from tests.gateway_svc.http_server.conftest import GET_PING, POST_LOGIN, Connect
from tests.support.platform import sample
from tests.support.process import Process
from tests.support.users_stub import UsersStub
from tests.support.wait import wait_until

BODY = json.dumps(CREDENTIALS).encode()
LOGIN = POST_LOGIN + b"Content-Length: %d\r\n" % len(BODY)


def hang_ups(gateway: Process) -> int:
    return sum(record.get("code") == 499 for record in gateway.records)


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("waits_for", ["the body", "the user service"])
def test_hang_up_ends_the_request(
    impatient: Process, connect: Connect, users: UsersStub, waits_for: str, how: str
) -> None:
    users.before = users.wait_for_cancel
    before, calls = hang_ups(impatient), len(users.calls)
    client = connect(impatient)
    client.send(LOGIN + b"\r\n" + (BODY if waits_for == "the user service" else b""))
    if waits_for == "the user service":
        wait_until(lambda: len(users.calls) > calls, 5, what="the call to arrive")
    else:
        wait_until(lambda: sample(impatient, "http_requests_in_flight") == 1, 5)
    if how == "reset":
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    client.close()
    wait_until(lambda: hang_ups(impatient) == before + 1, 3, what="the line of the request")
    assert users.cancelled.wait(3) or waits_for == "the body"
    assert sample(impatient, "http_requests_in_flight") == 0
    assert "Traceback" not in impatient.output
    assert "Exception" not in impatient.output


def test_hang_up_ends_pipelined_requests(impatient: Process, connect: Connect, users: UsersStub) -> None:
    users.before = users.wait_for_cancel
    before, calls = hang_ups(impatient), len(users.calls)
    client = connect(impatient)
    client.send(LOGIN + b"\r\n" + BODY + GET_PING)
    wait_until(lambda: len(users.calls) > calls, 5, what="the call to arrive")
    client.close()
    wait_until(lambda: hang_ups(impatient) == before + 1, 3, what="the line of the request")
    assert users.cancelled.wait(3)


@pytest.mark.parametrize("hangs_up", [True, False])
def test_application_learns_why_it_was_cancelled(hangs_up: bool) -> None:
    """An application that does not ask `receive` is cancelled by a hang-up, and at the end of the grace."""
    seen: list[bool] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        entered.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            seen.append(hang_up.happened())

    async def serve() -> None:
        server = HttpServer(application, head_timeout=5, keep_alive_timeout=5, max_connections=10, grace=1)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            await server.listening(serving)
            _, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(GET_PING)
            await entered.wait()
            if hangs_up:
                writer.close()
                await writer.wait_closed()
            server.should_exit = True
            await serving
            writer.close()

    entered = asyncio.Event()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(serve(), 20))
    assert seen == [hangs_up]
