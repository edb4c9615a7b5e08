"""Bearer tokens that the gateway and its peer accept."""

import secrets
import time
from pathlib import Path

import jwt

from bench.processes import JWT_SECRET
from gateway_svc.tokens import AccessTokens, Keys

ISSUER = AUDIENCE = "video-platform"


def write(folder: Path, count: int) -> Path:
    """Write `count` distinct tokens of logins to a file, one a line, with the claims that the gateway's own have."""
    now = int(time.time())
    issued = {"iat": now, "exp": now + 24 * 3600, "iss": ISSUER}
    file = folder / f"{count}-tokens"
    with file.open("w") as lines:
        for user_id in range(1, count + 1):
            claims = {"user_id": user_id, "username": f"user_{user_id}", "sub": str(user_id), "jti": f"{user_id:032x}"}
            print(jwt.encode(claims | issued, JWT_SECRET, "HS256"), file=lines)
    return file


def write_of_sessions(folder: Path, count: int) -> Path:
    """Write as many access tokens of sessions, as the gateway makes them."""
    tokens = AccessTokens(Keys(JWT_SECRET), issuer=ISSUER, audience=AUDIENCE, is_revoked=lambda _: False)
    file = folder / f"{count}-tokens-of-sessions"
    with file.open("w") as lines:
        for user_id in range(1, count + 1):
            print(tokens.issue_for_session(user_id, f"user_{user_id}", 0, secrets.token_bytes(16)), file=lines)
    return file
