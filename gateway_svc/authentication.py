"""Bearer tokens in requests (RFC 6750, section 2.1)."""

from collections.abc import Sequence

from gateway_svc import metrics, problems
from gateway_svc.tokens import AccessTokens, Identity, InvalidTokenError


class Authentication:
    """Identifies the sender of a request."""

    def __init__(self, tokens: AccessTokens) -> None:
        self._tokens = tokens

    def identify(self, headers: Sequence[tuple[bytes, bytes]]) -> Identity:
        """Return the identity in the token of the header Authorization.

        Raises:
            Problem: 401.
        """
        credentials = [value for name, value in headers if name == b"authorization"]
        if not any(credentials):
            metrics.token_refused("missing")
            raise problems.unauthorized("未授权: 缺少 Authorization 头")
        scheme, _, token = credentials[0].partition(b" ")
        token = token.lstrip(b" ")
        if len(credentials) > 1 or scheme.lower() != b"bearer" or not token:
            metrics.token_refused("not_bearer")
            raise problems.unauthorized("未授权: 认证格式错误")
        try:
            return self._tokens.verify(token.decode("latin-1"))
        except InvalidTokenError:
            raise problems.invalid_token() from None
