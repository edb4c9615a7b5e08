"""The gateway's four operations as FastAPI's own documentation would have them written.

It does the same work: validation, trace ids, one access log line a request, metrics, JWT, a grpc.aio call with a
deadline. It lacks the gateway's body limits, strict JSON, error shapes and draining; the gateway pays for them.
"""

import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import grpc.aio
import jwt
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import Counter, Gauge, Histogram
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bench import peer_logs
from bench.listening import serve
from protos.user.v1 import user_pb2, user_pb2_grpc

logger = logging.getLogger("fastapi_peer")
requests = Counter("http_requests", "Requests.", ["method", "route", "status"])
seconds = Histogram(
    "http_request_duration_seconds",
    "Seconds.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
in_flight = Gauge("http_requests_in_flight", "Requests in flight.")

SECRET = os.environ["JWT_SECRET"]


class Observed:
    """Trace id, access log line and metrics of each request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = next((value for name, value in scope["headers"] if name == b"x-trace-id"), b"")
        trace_id = peer_logs.resolve_trace_id(sent.decode("latin-1"))
        token = peer_logs.trace_id.set(trace_id)
        status = 500

        async def send_with_trace_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[peer_logs.HEADER] = trace_id
            await send(message)

        begun = time.perf_counter()
        in_flight.inc()
        try:
            await self._app(scope, receive, send_with_trace_id)
        finally:
            in_flight.dec()
            duration = time.perf_counter() - begun
            route = getattr(scope.get("route"), "path", "unmatched")
            method = scope["method"]
            requests.labels(method, route, str(status)).inc()
            seconds.labels(method, route).observe(duration)
            logger.info("request", extra={"route": route, "method": method, "code": status, "duration": duration})
            peer_logs.trace_id.reset(token)


class Credentials(BaseModel):
    model_config = ConfigDict(extra="forbid")
    username: Annotated[str, Field(min_length=3, max_length=20, pattern=r"^[A-Za-z0-9_]+$")]
    password: Annotated[str, Field(min_length=6, max_length=32)]


class Pong(BaseModel):
    message: str


class Registered(BaseModel):
    code: int
    msg: str
    user_id: int


class LoggedIn(Registered):
    token: str


class User(BaseModel):
    user_id: int
    username: str


class Profile(BaseModel):
    code: int
    msg: str
    data: User


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with grpc.aio.insecure_channel(os.environ["USER_SERVICE_TARGET"]) as channel:
        app.state.users = user_pb2_grpc.UserServiceStub(channel)
        yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(Observed)
bearer = HTTPBearer()


def metadata() -> tuple[tuple[str, str], ...]:
    return ((peer_logs.METADATA_KEY, peer_logs.trace_id.get()),)


async def identity(credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)]) -> dict[str, Any]:
    try:
        claims = jwt.decode(
            credentials.credentials, SECRET, algorithms=["HS256"], leeway=30, options={"require": ["exp", "user_id"]}
        )
    except jwt.InvalidTokenError as invalid:
        raise HTTPException(401, "未授权: 无效的 Token") from invalid
    return dict(claims)


@app.get("/ping")
async def ping() -> Pong:
    return Pong(message="pong")


@app.post("/api/register")
async def register(credentials: Credentials, request: Request) -> Registered:
    answer = await request.app.state.users.Register(
        user_pb2.RegisterRequest(username=credentials.username, password=credentials.password),
        timeout=5,
        metadata=metadata(),
    )
    return Registered(code=answer.code, msg=answer.msg, user_id=answer.user_id)


@app.get("/api/profile")
async def profile(claims: Annotated[dict[str, Any], Depends(identity)]) -> Profile:
    user = User(user_id=claims["user_id"], username=claims["username"])
    return Profile(code=200, msg="获取用户信息成功", data=user)


if __name__ == "__main__":
    peer_logs.configure("fastapi_peer")
    serve(app)
