"""The handlers of user.v1.UserService."""

from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from typing import TypeVar

import grpc

from protos.user.v1 import user_pb2, user_pb2_grpc
from service_kit.telemetry import spans
from user_svc import fields, metrics
from user_svc.database import DatabaseUnavailableError
from user_svc.passwords import CALL_SECONDS, Hasher, Ticket
from user_svc.store import Account, NameTakenError, Store

_NO_DEADLINE = 86400.0

T = TypeVar("T")


class UserService(user_pb2_grpc.UserServiceServicer):
    """Register and Login.

    A business outcome is an OK answer with `code` and `msg`; only failures of the system are gRPC statuses.
    """

    def __init__(self, store: Store, hasher: Hasher, is_usable: Callable[[], bool]) -> None:
        """`is_usable` tells from memory whether the database answered when it was last asked."""
        self._store = store
        self._hasher = hasher
        self._is_usable = is_usable

    def Register(self, request: user_pb2.RegisterRequest, context: grpc.ServicerContext) -> user_pb2.RegisterResponse:
        """Create a user."""
        if problem := fields.problem(request.username, request.password):
            metrics.registrations.labels("invalid").inc()
            return user_pb2.RegisterResponse(code=400, msg=f"参数错误: {problem}")
        self._be_usable()
        if self._store.is_taken(request.username):
            return _taken()
        with self._hasher.admission(_remaining(context)) as ticket:
            password_hash = _on_a_core(ticket, lambda: self._hasher.hash(request.password), context)
        try:
            user_id = self._store.add(request.username, password_hash)
        except NameTakenError:
            return _taken()
        metrics.registrations.labels("created").inc()
        return user_pb2.RegisterResponse(code=200, msg="注册成功", user_id=user_id)

    def Login(self, request: user_pb2.LoginRequest, context: grpc.ServicerContext) -> user_pb2.LoginResponse:
        """Check a name and a password."""
        if problem := fields.problem(request.username, request.password):
            metrics.logins.labels("invalid").inc()
            return user_pb2.LoginResponse(code=400, msg=f"参数错误: {problem}")
        self._be_usable()
        with self._hasher.admission(_remaining(context)) as ticket:
            account = self._store.find(request.username)
            stored = account.password_hash if account else None
            fits = _on_a_core(ticket, lambda: self._hasher.check(request.password, stored), context)
        if account is None or not fits:
            metrics.logins.labels("denied").inc()
            return user_pb2.LoginResponse(code=401, msg="密码错误")
        if self._hasher.is_outdated(account.password_hash):
            renewal = partial(copy_context().run, self._renew, account, request.password)
            context.add_callback(lambda: self._hasher.when_idle(renewal))
        metrics.logins.labels("success").inc()
        return user_pb2.LoginResponse(code=200, msg="登录成功", user_id=account.id, username=account.username)

    def _be_usable(self) -> None:
        if not self._is_usable():
            raise DatabaseUnavailableError("NOT_ANSWERING")

    def _renew(self, account: Account, password: str) -> None:
        with spans.within("password.hash"):
            renewed = self._hasher.hash(password)
        self._store.replace_hash(account, renewed)


def _taken() -> user_pb2.RegisterResponse:
    metrics.registrations.labels("duplicate").inc()
    return user_pb2.RegisterResponse(code=409, msg="用户名已存在")


def _on_a_core(ticket: Ticket, job: Callable[[], T], context: grpc.ServicerContext) -> T:
    """Wait for the job, and take it out of the queue when the caller goes away."""
    waiting = spans.begin("password.wait")

    def on_a_core() -> T:
        waiting.end()
        with spans.within("password.hash"):
            return job()

    future = ticket.submit(partial(copy_context().run, on_a_core))
    context.add_callback(lambda: _cancel(future))
    try:
        return future.result(_remaining(context))
    except BaseException as error:
        waiting.fail(type(error).__qualname__)
        raise
    finally:
        waiting.end()


def _cancel(future: "Future[T]") -> None:
    future.cancel()


def _remaining(context: grpc.ServicerContext) -> float:
    remaining = context.time_remaining()
    # A call without a deadline counts as one that ends in centuries.
    return CALL_SECONDS if remaining is None or remaining > _NO_DEADLINE else remaining
