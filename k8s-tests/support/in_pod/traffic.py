"""Registers, logs in, reads profiles and refreshes a session at steady rates, until a line comes in on stdin.

Requests leave by the clock, however long answers take; half of them on connections of their own, half on connections
that are kept. Each result is a JSON line; "ok" says that the status and the body were what they have to be.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx

gateway, marker = sys.argv[1:3]
rates = {operation: float(rate) for operation, rate in json.loads(sys.argv[3]).items()}
USER = {"username": f"{marker}_user", "password": "a password of traffic"}
token = ""
session: dict[str, str] = {}
turn = asyncio.Lock()
"""Of the session: a client presents the refresh token that it got last."""


def request(operation: str, number: int) -> tuple[str, str, dict[str, Any]]:
    """Return method, path and options of the next request of this operation."""
    if operation == "register":
        return "POST", "/api/register", {"json": {**USER, "username": f"{marker}_{number}"}}
    if operation == "login":
        return "POST", "/api/login", {"json": USER}
    if operation == "refresh":
        return "POST", "/api/sessions/refresh", {"json": {"refresh_token": session["refresh_token"]}}
    if operation == "session_profile":
        return "GET", "/api/profile", {"headers": {"Authorization": f"Bearer {session['token']}"}}
    return "GET", "/api/profile", {"headers": {"Authorization": f"Bearer {token}"}}


def is_right(operation: str, answer: httpx.Response) -> bool:
    """Whether an answer is the one that a client waits for."""
    body = answer.json()
    if operation == "register":
        return answer.status_code == 200 and body["msg"] == "注册成功"
    if operation == "login":
        return answer.status_code == 200 and body["msg"] == "登录成功" and bool(body["token"])
    if operation == "refresh":
        return answer.status_code == 200 and body["msg"] == "刷新成功"
    return answer.status_code == 200 and body["data"]["username"] == USER["username"]


async def one(client: httpx.AsyncClient, operation: str, number: int) -> None:
    """Send one request and tell what became of it."""
    began = time.monotonic()
    result: dict[str, Any] = {"operation": operation, "status": 0, "ok": False}
    try:
        async with turn if operation == "refresh" else contextlib.nullcontext():
            method, path, options = request(operation, number)
            answer = await client.request(method, gateway + path, **options)
            if operation == "refresh" and answer.status_code == 200:
                session.update(answer.json())
        result |= {"status": answer.status_code, "ok": is_right(operation, answer)}
        if not result["ok"]:
            result["body"] = answer.text
    except Exception as error:  # noqa: BLE001  # whatever it is, the request was lost
        result["error"] = repr(error)
    result |= {"took": round(time.monotonic() - began, 3), "at": round(time.time(), 3)}
    print(json.dumps(result), flush=True)


async def ticks(rate: float) -> AsyncIterator[int]:
    """Count at a steady rate."""
    began = time.monotonic()
    number = 0
    while True:
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        yield number
        number += 1


async def send(operation: str, clients: list[httpx.AsyncClient], group: asyncio.TaskGroup) -> None:
    """Send the requests of one operation without end."""
    async for number in ticks(rates[operation]):
        group.create_task(one(clients[number % len(clients)], operation, number))


async def answered(client: httpx.AsyncClient) -> None:
    """Wait until the gateway can be reached: the node may hear of a new Service late."""
    async with asyncio.timeout(15):
        while True:
            with contextlib.suppress(httpx.TransportError):
                await client.get(f"{gateway}/ping")
                return
            await asyncio.sleep(0.2)


async def main() -> None:
    """Prepare a user, then send until told to stop; requests under way are waited for."""
    global token
    fresh = httpx.AsyncClient(timeout=15, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
    kept = httpx.AsyncClient(timeout=15, trust_env=False)
    async with fresh, kept:
        await answered(fresh)
        (await fresh.post(f"{gateway}/api/register", json=USER)).raise_for_status()
        token = (await fresh.post(f"{gateway}/api/login", json=USER)).raise_for_status().json()["token"]
        if "refresh" in rates:
            session.update((await fresh.post(f"{gateway}/api/sessions", json=USER)).raise_for_status().json())
        async with asyncio.TaskGroup() as group:
            senders = [group.create_task(send(operation, [fresh, kept], group)) for operation in rates]
            await asyncio.to_thread(sys.stdin.readline)
            for sender in senders:
                sender.cancel()
    print(json.dumps({"end": True}), flush=True)


asyncio.run(main())
