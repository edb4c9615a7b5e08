"""The handlers of user.v1.UserService."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import grpc

from protos.user.v1 import user_pb2
from user_svc import audit, fields, metrics, new_passwords
from user_svc.accounts import AccountStore
from user_svc.audit import Event
from user_svc.deadline import Deadline
from user_svc.dsn import TIMEOUT
from user_svc.hash_queue import CALL_SECONDS, Admission, HashQueue
from user_svc.monitor import DatabaseMonitor
from user_svc.new_passwords import PasswordCheck
from user_svc.passwords import spellings
from user_svc.sessions import SessionService, SessionStore
from user_svc.standing import Standing
from user_svc.store import Account, NameTakenError, Store
from user_svc.throttle import Throttle

_REFUSAL_SECONDS = 0.5
"""Kept of each call's time, so that the refusal arrives before the deadline."""

_GONE = "登录已过期，请重新登录"
_WRONG = "当前密码错误"
_WRONG_REASON = "wrong_password"

_WithDevice = user_pb2.LoginRequest | user_pb2.ChangePasswordRequest | user_pb2.DeleteAccountRequest


class UserService(SessionService):
    """The RPCs that need a password, beside those of sessions.

    A business outcome is an OK answer with `code` and `msg`; only failures of the system are gRPC statuses.
    """

    def __init__(
        self,
        store: Store,
        accounts: AccountStore,
        sessions: SessionStore,
        queues: Mapping[Standing, HashQueue],
        throttle: Throttle,
        monitor: DatabaseMonitor,
        *,
        password_check: PasswordCheck = PasswordCheck.CHANGE,
    ) -> None:
        """`queues` has one for each standing of an attempt; `monitor` returns the last known state of the database."""
        super().__init__(sessions, monitor)
        self._store = store
        self._accounts = accounts
        self._queues = queues
        self._throttle = throttle
        self._password_check = password_check

    def Register(self, request: user_pb2.RegisterRequest, context: grpc.ServicerContext) -> user_pb2.RegisterResponse:
        """Create a user."""
        if problem := fields.problem(request.username, request.password):
            metrics.registrations.labels("invalid").inc()
            return user_pb2.RegisterResponse(code=400, msg=f"参数错误: {problem}")
        self._monitor.require(writable=True)
        if self._store.is_taken(request.username, _patience(context)):
            return _taken()
        queue = self._queues[Standing.USUAL]
        with queue.admit(context.time_remaining(), context.add_callback, hashes=1) as admission:
            password_hash = admission.hash(request.password)
        try:
            user_id = self._store.add(request.username, password_hash, _patience(context))
        except NameTakenError:
            return _taken()
        metrics.registrations.labels("created").inc()
        audit.record(Event.REGISTERED, user_id)
        return user_pb2.RegisterResponse(code=200, msg="注册成功", user_id=user_id)

    def Login(self, request: user_pb2.LoginRequest, context: grpc.ServicerContext) -> user_pb2.LoginResponse:
        """Check a name and a password."""
        if problem := fields.problem(request.username, request.password):
            metrics.logins.labels("invalid").inc()
            return user_pb2.LoginResponse(code=400, msg=f"参数错误: {problem}")
        self._monitor.require()
        standing = self._throttle.presume(request.username, with_device=request.HasField("device"))
        self._queues[standing].require_room(context.time_remaining(), checks=len(spellings(request.password)))
        account = self._store.find(request.username, _patience(context))
        with self._try(request.username, account, request.password, request, context) as (_, password):
            pass
        if account is None or password is None or account.is_disabled:
            metrics.logins.labels("denied").inc()
            reason = _WRONG_REASON if password is None else "disabled"
            audit.record(Event.LOGIN_DENIED, account.id if account else None, reason=reason)
            return user_pb2.LoginResponse(
                code=401, msg="密码错误", disabled=account is not None and password is not None
            )
        if self._monitor.writable:
            queue = self._queues[Standing.DOUBTFUL]  # the one that gives way to all others
            queue.renew(password, account.password_hash, partial(self._store.replace_hash, account))
        metrics.logins.labels("success").inc()
        audit.record(Event.LOGIN_SUCCEEDED, account.id)
        return user_pb2.LoginResponse(
            code=200, msg="登录成功", user_id=account.id, username=account.username, generation=account.generation
        )

    def ChangePassword(
        self, request: user_pb2.ChangePasswordRequest, context: grpc.ServicerContext
    ) -> user_pb2.ChangePasswordResponse:
        """Replace a password, and end all sessions and access tokens but one session."""
        problem = (
            fields.user_problem(request.user_id)
            or fields.password_problem(request.current_password, "current_password")
            or (fields.id_problem(request.session_id) if request.session_id else None)
        )
        if problem:
            return _unchanged("invalid", 400, f"参数错误: {problem}")
        self._monitor.require(writable=True)
        account = self._accounts.find(request.user_id, Deadline.of(context))
        if account is None or account.is_disabled:
            return _unchanged("denied", 401, _GONE)
        # in the form in which later logins find it, however it is typed then
        new, current = (spellings(each)[-1] for each in (request.new_password, request.current_password))
        if rule := new_passwords.broken_rule(new, account.username, current, self._password_check):
            return _unchanged("invalid", 400, f"参数错误: new_password: {rule.value}")
        new_hash = ""

        def change(account: Account, admission: Admission) -> int | None:
            nonlocal new_hash
            new_hash = new_hash or admission.hash(new)
            return self._accounts.change_password(account, new_hash, request.session_id, Deadline.of(context))

        generation = self._as_owner(account, request.current_password, request, context, change, hashes=1)
        if generation is None:
            audit.record(Event.PASSWORD_CHANGE_DENIED, account.id, session_id=request.session_id, reason=_WRONG_REASON)
            return _unchanged("denied", 403, _WRONG)
        metrics.password_changes.labels("changed").inc()
        audit.record(Event.PASSWORD_CHANGED, account.id, session_id=request.session_id)
        return user_pb2.ChangePasswordResponse(code=200, msg="密码修改成功", generation=generation)

    def DeleteAccount(
        self, request: user_pb2.DeleteAccountRequest, context: grpc.ServicerContext
    ) -> user_pb2.DeleteAccountResponse:
        """Delete a user; the name stays taken."""
        if problem := fields.user_problem(request.user_id) or fields.password_problem(request.password):
            return user_pb2.DeleteAccountResponse(code=400, msg=f"参数错误: {problem}")
        self._monitor.require(writable=True)
        account = self._accounts.find(request.user_id, Deadline.of(context))
        if account is None or account.is_disabled:
            return user_pb2.DeleteAccountResponse(code=401, msg=_GONE)

        def delete(account: Account, _admission: Admission) -> int | None:
            return self._accounts.delete(account, Deadline.of(context))

        if self._as_owner(account, request.password, request, context, delete) is None:
            audit.record(Event.ACCOUNT_DELETION_DENIED, account.id, reason=_WRONG_REASON)
            return user_pb2.DeleteAccountResponse(code=403, msg=_WRONG)
        metrics.accounts_deleted.inc()
        audit.record(Event.ACCOUNT_DELETED, account.id)
        return user_pb2.DeleteAccountResponse(code=200, msg="账号已注销")

    def _as_owner(
        self,
        account: Account,
        password: str,
        request: _WithDevice,
        context: grpc.ServicerContext,
        change: Callable[[Account, Admission], int | None],
        *,
        hashes: int = 0,
    ) -> int | None:
        """Make a change that needs the password; None when that is another, be it since a moment ago.

        `change` returns None when the account is not any more as it was read.
        """
        attempt = self._try(account.username, account, password, request, context, hashes=hashes, reserve=TIMEOUT)
        with attempt as (admission, matching):
            if matching is None:
                return None
            if (done := change(account, admission)) is not None:
                return done
            newest = self._accounts.find(account.id, Deadline.of(context))
            if newest is None or newest.generation != account.generation:
                return None
            # a login has renewed the hash, which is no change of the password
            return change(newest, admission) if admission.check(matching, newest.password_hash) else None

    @contextmanager
    def _try(
        self,
        username: str,
        account: Account | None,
        password: str,
        request: _WithDevice,
        context: grpc.ServicerContext,
        *,
        hashes: int = 0,
        reserve: float = 0.0,
    ) -> Iterator[tuple[Admission, str | None]]:
        """Check a password, and lend its place in the queue with the spelling that matches, None when none does.

        The hashes must be done `reserve` seconds before the call's deadline.
        """
        candidates = spellings(password)
        device = request.device if request.HasField("device") else None
        attempt = self._throttle.attempt(username, account, device, partial(_patience, context))
        stored = account.password_hash if account else None
        remaining = context.time_remaining()
        with (
            attempt.under_way() as standing,
            self._queues[standing].admit(
                None if remaining is None else remaining - reserve,
                context.add_callback,
                hashes=hashes,
                checks=len(candidates),
            ) as admission,
        ):
            admission.wait()
            attempt.claim()
            matching = next((each for each in candidates if admission.check(each, stored)), None)
            if matching is None:
                attempt.failed()  # before the next try of the name has the core
            yield admission, matching
        if matching is not None:
            attempt.succeeded()


def _patience(context: grpc.ServicerContext) -> float:
    """Return the seconds that statements may take; a call without a deadline has as many as others begin with."""
    remaining = context.time_remaining()
    return (CALL_SECONDS if remaining is None else min(remaining, CALL_SECONDS)) - _REFUSAL_SECONDS


def _unchanged(result: str, code: int, msg: str) -> user_pb2.ChangePasswordResponse:
    metrics.password_changes.labels(result).inc()
    return user_pb2.ChangePasswordResponse(code=code, msg=msg)


def _taken() -> user_pb2.RegisterResponse:
    metrics.registrations.labels("duplicate").inc()
    return user_pb2.RegisterResponse(code=409, msg="用户名已存在")
