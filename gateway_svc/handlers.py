"""Handlers of the contract's operations; the names are the operationIds."""

import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from gateway_svc import problems
from gateway_svc.problems import Problem
from gateway_svc.revocations import Revocations
from gateway_svc.throttling import Throttle
from gateway_svc.tokens import (
    LEEWAY,
    MAX_GENERATION,
    AccessTokens,
    DeviceTokens,
    Identity,
    InvalidRefreshTokenError,
    Kind,
    RefreshTokens,
)
from gateway_svc.users_client import UsersClient, UsersOutdatedError
from protos.user.v1 import user_pb2
from protos.user.v1.contract import LOGIN_TOKEN_SECONDS, SESSION_TOKEN_SECONDS

Answer = Mapping[str, object]

_PONG: Answer = {"message": "pong"}
_LAST_MOMENT = 253402300799
"""The end of the year 9999; some tokens expire later, and no database has room for that."""

_Refusal = user_pb2.RefreshSessionResponse.Refusal
_INVALID_REFRESH_TOKEN = "无效的刷新凭证"  # noqa: S105
_REFUSALS: Mapping[int, str] = {
    _Refusal.UNKNOWN: _INVALID_REFRESH_TOKEN,
    _Refusal.EXPIRED: "登录已过期，请重新登录",
    _Refusal.ENDED: "已退出登录",
    _Refusal.PASSWORD_CHANGED: "密码已修改，请重新登录",
    _Refusal.REUSED: "登录凭证被重复使用，请重新登录",
    _Refusal.DISABLED: "账号已停用",
}


class Handlers:
    """The operations."""

    def __init__(
        self,
        users: UsersClient,
        tokens: AccessTokens,
        refresh_tokens: RefreshTokens,
        device_tokens: DeviceTokens,
        revocations: Revocations,
        throttle: Throttle,
    ) -> None:
        self._users = users
        self._tokens = tokens
        self._refresh_tokens = refresh_tokens
        self._device_tokens = device_tokens
        self._revocations = revocations
        self._throttle = throttle

    async def ping(self) -> Answer:
        """Answer at once."""
        return _PONG

    async def register(self, body: dict[str, str], client: str | None) -> Answer:
        """Create a user."""
        self._throttle.take("/api/register", client)
        response = await self._users.register(body["username"], body["password"])
        match response.code:
            case 200:
                return {"code": 200, "msg": "注册成功", "user_id": response.user_id}
            case 409:
                raise problems.name_taken()
        raise _refusal(response.code, response.msg)

    async def login(self, body: dict[str, str], client: str | None) -> Answer:
        """Return a token for a name and a password."""
        with self._throttle.failures("/api/login", client):
            response = await self._users.login(body["username"], body["password"])
            if response.code == 401:
                raise problems.unauthorized("密码错误", extra={"token": "", "user_id": 0})
        _expect(response.code, response.msg, 200)
        username = response.username or body["username"]
        generation = response.generation if response.HasField("generation") else None
        token = self._tokens.issue(response.user_id, username, generation)
        return {"code": 200, "msg": "登录成功", "token": token, "user_id": response.user_id}

    async def profile(self, identity: Identity) -> Answer:
        """Tell whose token it is."""
        user = {"user_id": identity.user_id, "username": identity.username}
        return {"code": 200, "msg": "获取用户信息成功", "data": user}

    async def change_password(self, identity: Identity, body: dict[str, str]) -> Answer:
        """Replace the password, and return a token of the kind that was sent."""
        is_session = identity.kind is Kind.SESSION
        session_id = identity.revocation_id if is_session else b""
        device = self._device_tokens.check(body.get("device_token"))
        response = await self._users.change_password(
            identity.user_id, body["current_password"], body["new_password"], session_id, device
        )
        _expect_password(response.code, response.msg)
        generation = response.generation
        self._revocations.end_all(identity.user_id, generation)
        if is_session:
            lifetime = SESSION_TOKEN_SECONDS
            token = self._tokens.issue_for_session(identity.user_id, identity.username, generation, session_id)
        else:
            lifetime = LOGIN_TOKEN_SECONDS
            token = self._tokens.issue(identity.user_id, identity.username, generation)
        return {"code": 200, "msg": "密码修改成功", "token": token, "expires_in": lifetime}

    async def delete_account(self, identity: Identity, body: dict[str, str]) -> Answer:
        """Delete the user."""
        device = self._device_tokens.check(body.get("device_token"))
        response = await self._users.delete_account(identity.user_id, body["password"], device)
        _expect_password(response.code, response.msg)
        self._revocations.end_all(identity.user_id, MAX_GENERATION)
        return {"code": 200, "msg": "账号已注销"}

    async def open_session(self, body: dict[str, str], client: str | None) -> Answer:
        """Return the first tokens of a new session for a name and a password."""
        device = self._device_tokens.check(body.get("device_token"))
        with self._throttle.failures("/api/sessions", client):
            login = await self._users.login(body["username"], body["password"], device)
            if login.code == 401:
                raise problems.account_disabled() if login.disabled else problems.unauthorized("密码错误")
        _expect(login.code, login.msg, 200)
        if not login.HasField("generation"):
            raise UsersOutdatedError
        session_id = secrets.token_bytes(16)
        opened = await self._users.open_session(session_id, login.user_id, login.generation, body.get("device", ""))
        if opened.code == 401:  # the password was changed, or the user disabled, since it was checked
            raise problems.unauthorized("密码错误")
        _expect(opened.code, opened.msg, 200)
        token = self._tokens.issue_for_session(
            login.user_id, login.username or body["username"], login.generation, session_id
        )
        return {
            "code": 200,
            "msg": "登录成功",
            "user_id": login.user_id,
            **self._pair(token, session_id, opened),
            "device_token": self._device_tokens.issue(login.user_id, login.generation),
        }

    async def refresh_session(self, body: dict[str, str], client: str | None) -> Answer:
        """Return the next tokens of a session."""
        with self._throttle.failures("/api/sessions/refresh", client):
            session_id, serial = self._presented(body)
            response = await self._users.refresh_session(session_id, serial)
            if response.code == 401:
                raise problems.unauthorized(_REFUSALS.get(response.refusal, _INVALID_REFRESH_TOKEN))
        _expect(response.code, response.msg, 200)
        token = self._tokens.issue_for_session(response.user_id, response.username, response.generation, session_id)
        return {"code": 200, "msg": "刷新成功", "user_id": response.user_id, **self._pair(token, session_id, response)}

    async def list_sessions(self, identity: Identity) -> Answer:
        """List the user's sessions."""
        response = await self._users.list_sessions(identity.user_id)
        current = identity.revocation_id if identity.kind is Kind.SESSION else None
        data = [
            {
                "session_id": each.session_id.hex(),
                "device": each.device,
                "created_at": _moment(each.created_at),
                "used_at": _moment(each.used_at),
                "expires_at": _moment(each.expires_at),
                "current": each.session_id == current,
            }
            for each in response.sessions
        ]
        return {"code": 200, "msg": "获取会话列表成功", "data": data}

    async def delete_session(self, identity: Identity, session_id: str) -> Answer:
        """End one of the user's sessions."""
        if not await self._end(bytes.fromhex(session_id), identity.user_id):
            raise problems.no_session()
        return {"code": 200, "msg": "会话已退出"}

    async def end_session(self, body: dict[str, str], client: str | None) -> Answer:
        """End the session of a refresh token."""
        with self._throttle.failures("/api/sessions/end", client):
            session_id, _ = self._presented(body)
        await self._end(session_id, 0)
        return {"code": 200, "msg": "退出成功"}

    async def logout(self, identity: Identity) -> Answer:
        """End the token's session, or the token when it belongs to none."""
        if identity.kind is Kind.SESSION:
            await self._end(identity.revocation_id, identity.user_id)
        else:
            expires = min(identity.expires, _LAST_MOMENT)
            response = await self._users.end_access_token(identity.revocation_id, expires, identity.user_id)
            _expect(response.code, response.msg, 200)
            self._revocations.end(identity.revocation_id, expires)
        return {"code": 200, "msg": "退出成功"}

    async def logout_all(self, identity: Identity) -> Answer:
        """End all sessions and tokens of the user."""
        response = await self._users.end_all_sessions(identity.user_id)
        _expect(response.code, response.msg, 200, 404)
        if response.code == 200:
            self._revocations.end_all(identity.user_id, response.generation)
        return {"code": 200, "msg": "已退出所有设备"}

    async def jwks(self) -> tuple[Answer, int, Mapping[str, str]]:
        """Return the public keys of session tokens."""
        return {"keys": self._tokens.jwks()}, 200, {"Cache-Control": "public, max-age=300"}

    def _pair(
        self, token: str, session_id: bytes, newest: user_pb2.OpenSessionResponse | user_pb2.RefreshSessionResponse
    ) -> Answer:
        return {
            "session_id": session_id.hex(),
            "token": token,
            "expires_in": SESSION_TOKEN_SECONDS,
            "refresh_token": self._refresh_tokens.issue(session_id, newest.serial),
            "refresh_expires_in": newest.refresh_expires_in,
        }

    def _presented(self, body: dict[str, str]) -> tuple[bytes, int]:
        try:
            return self._refresh_tokens.check(body["refresh_token"])
        except InvalidRefreshTokenError:
            raise problems.unauthorized(_INVALID_REFRESH_TOKEN) from None

    async def _end(self, session_id: bytes, user_id: int) -> bool:
        """End a session, and return whether there is one."""
        response = await self._users.end_session(session_id, user_id)
        _expect(response.code, response.msg, 200, 404)
        if response.code == 404:
            return False
        self._revocations.end(session_id, int(time.time()) + SESSION_TOKEN_SECONDS + LEEWAY)
        return True


def _expect_password(code: int, msg: str) -> None:
    match code:
        case 401:  # the user was deleted or disabled since the token was checked
            raise problems.invalid_token()
        case 403:
            raise problems.wrong_current_password()
    _expect(code, msg, 200)


def _expect(code: int, msg: str, *codes: int) -> None:
    if code not in codes:
        raise _refusal(code, msg)


def _moment(milliseconds: int) -> str:
    """Return a moment as RFC 3339 writes it, in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _refusal(code: int, msg: str) -> Problem:
    if code == 400:
        return Problem(400, msg if msg.startswith("参数错误: ") else "参数错误: body: 不符合接口约定")
    raise ValueError(f"the user service answered with the code {code}")
