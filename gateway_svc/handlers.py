"""What each operation of the contract does; the names are its operationIds."""

from collections.abc import Mapping

from gateway_svc import problems
from gateway_svc.problems import Problem
from gateway_svc.tokens import Identity, Tokens
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

    async def register(self, body: dict[str, str]) -> Answer:
        """Create a user."""
        response = await self._users.register(body["username"], body["password"])
        match response.code:
            case 200:
                return {"code": 200, "msg": "注册成功", "user_id": response.user_id}
            case 409:
                raise problems.name_taken()
        raise _refusal(response.code, response.msg)

    async def login(self, body: dict[str, str]) -> Answer:
        """Return a token for a name and a password."""
        response = await self._users.login(body["username"], body["password"])
        match response.code:
            case 200:
                token = self._tokens.issue(response.user_id, response.username or body["username"])
                return {"code": 200, "msg": "登录成功", "token": token, "user_id": response.user_id}
            case 401:
                raise problems.unauthorized("密码错误", extra={"token": "", "user_id": 0})
        raise _refusal(response.code, response.msg)

    async def profile(self, identity: Identity) -> Answer:
        """Tell whose token it is."""
        user = {"user_id": identity.user_id, "username": identity.username}
        return {"code": 200, "msg": "获取用户信息成功", "data": user}


def _refusal(code: int, msg: str) -> Problem:
    if code == 400:
        return Problem(400, msg if msg.startswith("参数错误: ") else "参数错误: body: 不符合接口约定")
    raise ValueError(f"the user service answered with the code {code}")
