"""Bearer tokens that the gateway and its peer accept."""

import time
from pathlib import Path

import jwt

from bench.processes import JWT_SECRET


def write(folder: Path, count: int) -> Path:
    """Write `count` distinct tokens to a file, one a line, with the claims that the gateway's own have."""
    now = int(time.time())
    issued = {"iat": now, "exp": now + 24 * 3600, "iss": "video-platform"}
    file = folder / f"{count}-tokens"
    with file.open("w") as lines:
        for user_id in range(1, count + 1):
            claims = {"user_id": user_id, "username": f"user_{user_id}", "sub": str(user_id), "jti": f"{user_id:032x}"}
            print(jwt.encode(claims | issued, JWT_SECRET, "HS256"), file=lines)
    return file
