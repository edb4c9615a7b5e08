"""The handlers of the RPCs of sessions."""

from typing import Any

import grpc

from protos.user.v1 import user_pb2, user_pb2_grpc
from user_svc import fields, metrics
from user_svc.deadline import Deadline
from user_svc.monitor import DatabaseMonitor
from user_svc.sessions.rules import IDLE, Result
from user_svc.sessions.store import REFRESH_SECONDS, SessionStore

_DEVICE_LENGTH = 64
_LATEST = 2**40
"""Seconds since the epoch; a token may claim to live for longer than a column holds."""

_Refusal = user_pb2.RefreshSessionResponse
_REFUSALS = {
    Result.UNKNOWN: (_Refusal.UNKNOWN, "无效的刷新凭证"),
    Result.EXPIRED: (_Refusal.EXPIRED, "登录已过期，请重新登录"),
    Result.ENDED: (_Refusal.ENDED, "已退出登录"),
    Result.PASSWORD_CHANGED: (_Refusal.PASSWORD_CHANGED, "密码已修改，请重新登录"),
    Result.REUSED: (_Refusal.REUSED, "登录凭证被重复使用，请重新登录"),
    Result.REUSED_BEFORE: (_Refusal.REUSED, "登录凭证被重复使用，请重新登录"),
    Result.DISABLED: (_Refusal.DISABLED, "账号已停用"),
}


class SessionService(user_pb2_grpc.UserServiceServicer):
    """The RPCs of sessions. Each may be repeated."""

    def __init__(self, sessions: SessionStore, monitor: DatabaseMonitor) -> None:
        """`monitor` returns the last known state of the database."""
        self._sessions = sessions
        self._monitor = monitor

    def OpenSession(
        self, request: user_pb2.OpenSessionRequest, context: grpc.ServicerContext
    ) -> user_pb2.OpenSessionResponse:
        """Open a session under the id that the gateway chose."""
        problem = fields.id_problem(request.session_id) or fields.user_problem(request.user_id)
        if problem is None and len(request.device) > _DEVICE_LENGTH:
            problem = f"device: 至多 {_DEVICE_LENGTH} 个字符"
        if problem:
            return user_pb2.OpenSessionResponse(code=400, msg=f"参数错误: {problem}")
        self._monitor.require(writable=True)
        serial = self._sessions.open(
            request.session_id, request.user_id, request.generation, request.device, Deadline.of(context)
        )
        if serial is None:
            return user_pb2.OpenSessionResponse(code=401, msg="登录已过期，请重新登录")
        return user_pb2.OpenSessionResponse(
            code=200, msg="登录成功", serial=serial, refresh_expires_in=_whole_seconds(IDLE)
        )

    def RefreshSession(
        self, request: user_pb2.RefreshSessionRequest, context: grpc.ServicerContext
    ) -> user_pb2.RefreshSessionResponse:
        """Decide the outcome of a refresh."""
        if problem := fields.id_problem(request.session_id):
            return user_pb2.RefreshSessionResponse(code=400, msg=f"参数错误: {problem}")
        self._monitor.require(writable=True)
        refresh = self._sessions.refresh(request.session_id, request.serial, Deadline.of(context, REFRESH_SECONDS))
        metrics.session_refreshes.labels(refresh.result.value).inc()
        if refusal := _REFUSALS.get(refresh.result):
            return user_pb2.RefreshSessionResponse(code=401, msg=refusal[1], refusal=refusal[0])
        session: Any = refresh.session
        return user_pb2.RefreshSessionResponse(
            code=200,
            msg="刷新成功",
            serial=refresh.serial,
            user_id=session.user_id,
            username=session.username,
            generation=session.generation,
            refresh_expires_in=_whole_seconds(refresh.expires_in),
        )

    def EndSession(
        self, request: user_pb2.EndSessionRequest, context: grpc.ServicerContext
    ) -> user_pb2.EndSessionResponse:
        """End one session, or one access token that belongs to none."""
        token = request.access_token if request.HasField("access_token") else None
        if token is not None:
            problem = fields.id_problem(token.id, "access_token.id") or fields.user_problem(request.user_id)
        else:
            problem = fields.id_problem(request.session_id)
        if problem:
            return user_pb2.EndSessionResponse(code=400, msg=f"参数错误: {problem}")
        self._monitor.require(writable=True)
        if token is not None:
            until = min(max(token.expires_at, 0), _LATEST) * 1000
            self._sessions.end_token(token.id, request.user_id, until, Deadline.of(context))
        elif not self._sessions.end(request.session_id, request.user_id or None, Deadline.of(context)):
            return user_pb2.EndSessionResponse(code=404, msg="会话不存在")
        return user_pb2.EndSessionResponse(code=200, msg="会话已退出")

    def EndAllSessions(
        self, request: user_pb2.EndAllSessionsRequest, context: grpc.ServicerContext
    ) -> user_pb2.EndAllSessionsResponse:
        """End all sessions and tokens of a user."""
        self._monitor.require(writable=True)
        generation = self._sessions.end_all(request.user_id, Deadline.of(context))
        if generation is None:
            return user_pb2.EndAllSessionsResponse(code=404, msg="用户不存在")
        return user_pb2.EndAllSessionsResponse(code=200, msg="已退出所有设备", generation=generation)

    def ListSessions(
        self, request: user_pb2.ListSessionsRequest, context: grpc.ServicerContext
    ) -> user_pb2.ListSessionsResponse:
        """List the sessions that can be refreshed."""
        self._monitor.require()
        rows = self._sessions.of_user(request.user_id, Deadline.of(context))
        return user_pb2.ListSessionsResponse(
            sessions=[
                user_pb2.ListSessionsResponse.Session(
                    session_id=row.id,
                    device=row.device.decode(),
                    created_at=row.created_at,
                    used_at=row.used_at,
                    expires_at=min(row.used_at + IDLE, row.expires_at),
                )
                for row in rows
            ]
        )

    def ListRevocations(
        self, request: user_pb2.ListRevocationsRequest, context: grpc.ServicerContext
    ) -> user_pb2.ListRevocationsResponse:
        """List revocations after a position, a page at a time."""
        self._monitor.require()
        page = self._sessions.revocations(request.after_at, request.after_id, Deadline.of(context))
        return user_pb2.ListRevocationsResponse(
            revocations=[_revocation(row) for row in page.entries], more=page.more, now=page.now
        )


def _revocation(row: Any) -> user_pb2.ListRevocationsResponse.Revocation:
    entry = user_pb2.ListRevocationsResponse.Revocation(
        at=row.at, id=row.id, expires_at=_whole_seconds((row.expires_at or 0) + 999)
    )
    if row.kind == "user":
        entry.user.user_id, entry.user.generation, entry.user.disabled = row.user_id, row.generation, row.disabled
    else:
        entry.ended_id = row.token_id
    return entry


def _whole_seconds(milliseconds: int) -> int:
    return milliseconds // 1000
