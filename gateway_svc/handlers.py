"""What each operation of the contract does; the names are its operationIds."""

from collections.abc import Mapping
from typing import Any

from starlette.types import Receive

from gateway_svc import metrics, problems
from gateway_svc.problems import Problem
from gateway_svc.tokens import InvalidTokenError, Tokens
from gateway_svc.users_client import UsersClient

Answer = Mapping[str, object]

_PONG: Answer = {"message": "pong"}


class Handlers:
    """The operations."""

    def __init__(self, users: UsersClient, tokens: Tokens) -> None:
        self._users = users
        self._tokens = tokens

    async def ping(self) -> Answer:
        """Answer at once."""
        return _PONG

    async def register(self, body: dict[str, str], receive: Receive) -> Answer:
        """Create a user."""
        response = await self._users.register(body["username"], body["password"], receive)
        match response.code:
            case 200:
                return {"code": 200, "msg": "注册成功", "user_id": response.user_id}
            case 409:
                raise problems.name_taken()
        raise _refusal(response.code, response.msg)

    async def login(self, body: dict[str, str], receive: Receive) -> Answer:
        """Return a token for a name and a password."""
        response = await self._users.login(body["username"], body["password"], receive)
        match response.code:
            case 200:
                token = self._tokens.issue(response.user_id, response.username)
                return {"code": 200, "msg": "登录成功", "token": token, "user_id": response.user_id}
            case 401:
                raise problems.unauthorized("密码错误", extra={"token": "", "user_id": 0})
        raise _refusal(response.code, response.msg)

    async def profile(self, token_info: dict[str, Any]) -> Answer:
        """Tell whose token it is."""
        return {"code": 200, "msg": "获取用户信息成功", "data": token_info["user"]}

    def authenticate(self, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
        """Return Connexion's `token_info` for the bearer token (RFC 6750, section 2.1) in `headers`.

        Raises:
            Problem: 401.
        """
        credentials = [value for name, value in headers if name == b"authorization"]
        if not any(credentials):
            metrics.token_verified("missing")
            raise problems.unauthorized("未授权: 缺少 Authorization 头")
        scheme, _, token = credentials[0].partition(b" ")
        if len(credentials) > 1 or scheme.lower() != b"bearer" or not token:
            metrics.token_verified("not_bearer")
            raise problems.unauthorized("未授权: 认证格式错误")
        try:
            identity = self._tokens.verify(token.decode("latin-1"))
        except InvalidTokenError:
            raise problems.unauthorized("未授权: 无效的 Token") from None
        return {"sub": identity.username, "user": identity._asdict()}


def _refusal(code: int, msg: str) -> Problem:
    if code == 400:
        return Problem(400, msg if msg.startswith("参数错误: ") else "参数错误: body: 不符合接口约定")
    raise ValueError(f"the user service answered with the code {code}")
