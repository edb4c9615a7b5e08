"""What schemathesis has to know beside the contract: loaded by it through SCHEMATHESIS_HOOKS."""

import secrets
import time
from typing import Any

import jwt
import schemathesis
from hypothesis import strategies as st

from gateway_svc.tokens import MAX_GENERATION
from protos.user.v1.contract import is_bcrypt_password
from tests.gateway_svc.conftest import SECRET

schemathesis.openapi.format(
    "bcrypt-password",
    st.text(st.characters(exclude_categories=["Cs"]), min_size=6, max_size=32).filter(is_bcrypt_password),
)


@schemathesis.auth(refresh_interval=None)
class NewToken:
    """A token for each request, of the highest generation: no logout, new password or deletion before it ends it."""

    def get(self, case: Any, context: Any) -> str:
        claims = {"user_id": 1, "username": "testuser123", "gen": MAX_GENERATION, "exp": int(time.time()) + 3600}
        return jwt.encode({**claims, "jti": secrets.token_hex(8)}, SECRET, "HS256")

    def set(self, case: Any, data: str, context: Any) -> None:
        case.headers["Authorization"] = f"Bearer {data}"
