"""The handlers of user.v1.UserService."""

from functools import partial

import grpc

from protos.user.v1 import user_pb2
from user_svc import fields, metrics
from user_svc.hash_queue import CALL_SECONDS, HashQueue
from user_svc.monitor import DatabaseMonitor
from user_svc.passwords import spellings
from user_svc.sessions import SessionService, SessionStore
from user_svc.store import NameTakenError, Store

_REFUSAL_SECONDS = 0.5
"""Kept of each call's time, so that the refusal arrives before the deadline."""


class UserService(SessionService):
    """Register and Login, beside the RPCs of sessions.

    A business outcome is an OK answer with `code` and `msg`; only failures of the system are gRPC statuses.
    """

    def __init__(self, store: Store, sessions: SessionStore, queue: HashQueue, monitor: DatabaseMonitor) -> None:
        """`monitor` tells from memory whether the database can be read and written."""
        super().__init__(sessions, monitor)
        self._store = store
        self._queue = queue

    def Register(self, request: user_pb2.RegisterRequest, context: grpc.ServicerContext) -> user_pb2.RegisterResponse:
        """Create a user."""
        if problem := fields.problem(request.username, request.password):
            metrics.registrations.labels("invalid").inc()
            return user_pb2.RegisterResponse(code=400, msg=f"参数错误: {problem}")
        self._monitor.require(writable=True)
        if self._store.is_taken(request.username, _patience(context)):
            return _taken()
        with self._queue.admit(context.time_remaining(), context.add_callback, hashes=1) as admission:
            password_hash = admission.hash(request.password)
        try:
            user_id = self._store.add(request.username, password_hash, _patience(context))
        except NameTakenError:
            return _taken()
        metrics.registrations.labels("created").inc()
        return user_pb2.RegisterResponse(code=200, msg="注册成功", user_id=user_id)

    def Login(self, request: user_pb2.LoginRequest, context: grpc.ServicerContext) -> user_pb2.LoginResponse:
        """Check a name and a password."""
        if problem := fields.problem(request.username, request.password):
            metrics.logins.labels("invalid").inc()
            return user_pb2.LoginResponse(code=400, msg=f"参数错误: {problem}")
        self._monitor.require()
        candidates = spellings(request.password)
        self._queue.require_room(context.time_remaining(), checks=len(candidates))
        account = self._store.find(request.username, _patience(context))
        stored = account.password_hash if account else None
        with self._queue.admit(context.time_remaining(), context.add_callback, checks=len(candidates)) as admission:
            password = next((each for each in candidates if admission.check(each, stored)), None)
        if account is None or password is None or account.is_disabled:
            metrics.logins.labels("denied").inc()
            return user_pb2.LoginResponse(
                code=401, msg="密码错误", disabled=account is not None and password is not None
            )
        if self._monitor.writable:
            self._queue.renew(password, account.password_hash, partial(self._store.replace_hash, account))
        metrics.logins.labels("success").inc()
        return user_pb2.LoginResponse(
            code=200, msg="登录成功", user_id=account.id, username=account.username, generation=account.generation
        )


def _patience(context: grpc.ServicerContext) -> float:
    """Return the seconds that statements may take; a call without a deadline has as many as others begin with."""
    remaining = context.time_remaining()
    return (CALL_SECONDS if remaining is None else min(remaining, CALL_SECONDS)) - _REFUSAL_SECONDS


def _taken() -> user_pb2.RegisterResponse:
    metrics.registrations.labels("duplicate").inc()
    return user_pb2.RegisterResponse(code=409, msg="用户名已存在")
