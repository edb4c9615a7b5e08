"""The way of a user through the gateway: registers, logs in, reads the profile.

The user's name and password come from the key of the tokens: the same at each run, and known to the release alone.
"""

import hashlib
import hmac
import json
import os
import pathlib
import sys
import time
import urllib.error
import urllib.request

GATEWAY = os.environ["GATEWAY"]
KEY = pathlib.Path(os.environ["JWT_SECRET_FILE"]).read_bytes()
USER = {
    "username": "t_" + hmac.new(KEY, b"helm test: username", hashlib.sha256).hexdigest()[:16],
    "password": hmac.new(KEY, b"helm test: password", hashlib.sha256).hexdigest()[:32],
}


def ask(path: str, body: dict[str, str] | None = None, token: str = "") -> tuple[int, dict]:
    """Send one request, a POST when it has a body."""
    request = urllib.request.Request(GATEWAY + path, headers={"Content-Type": "application/json"})
    if body is not None:
        request.data = json.dumps(body).encode()
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


def reach(seconds: float) -> tuple[int, dict]:
    """Ask for the first answer, until there is one: nodes hear of a new Service a moment after it is there."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask("/ping")
        except urllib.error.URLError as error:
            if time.monotonic() > deadline:
                sys.exit(f"FAILED  the gateway cannot be reached at {GATEWAY}: {error.reason}")
        time.sleep(0.5)


def expect(step: str, answer: tuple[int, dict], *statuses: int) -> dict:
    """Print how a step went, and end the test when it went wrong."""
    status, body = answer
    if status not in statuses:
        sys.exit(f"FAILED  {step}: {status} {body.get('msg')}")
    print(f"ok  {step}: {status}")
    return body


expect("the gateway answers", reach(15), 200)
expect("a user registers, or has", ask("/api/register", USER), 200, 409)
token = expect("the user logs in", ask("/api/login", USER), 200)["token"]
profile = expect("the token opens the profile", ask("/api/profile", token=token), 200)
if profile["data"]["username"] != USER["username"]:
    sys.exit("FAILED  the profile is another user's")
wrong = {**USER, "password": USER["password"][::-1]}
expect("a wrong password does not", ask("/api/login", wrong), 401)
