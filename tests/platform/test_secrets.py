"""Whatever happens, what is secret stays so."""

import json
from collections.abc import Callable, Iterator

import httpx

from tests.platform.conftest import NAME, account
from tests.support.etcd import Etcd
from tests.support.mariadb import PASSWORD as DATABASE_PASSWORD
from tests.support.mariadb import Database
from tests.support.platform import Platform, admin

CANARY = "c4n4ry-pässwörd"
PREVIOUS = "previous-s3cret"
WITH_TOKEN: list[tuple[str, str, object]] = [
    ("PUT", "/api/password", {"current_password": f"{CANARY}x", "new_password": f"{CANARY}new"}),
    ("PUT", "/api/password", {"current_password": CANARY, "new_password": CANARY}),
    ("PUT", "/api/password", {"current_password": [CANARY], "new_password": CANARY, "device_token": CANARY}),
    ("POST", "/api/account/delete", {"password": f"{CANARY}x", "device_token": CANARY}),
    ("POST", "/api/account/delete", {CANARY: CANARY}),
    ("POST", "/api/sessions", {"username": NAME, "password": CANARY, "device_token": CANARY}),
    ("POST", "/api/sessions", {"username": NAME, "password": CANARY, "device": [CANARY]}),
    ("POST", "/api/sessions/refresh", {"refresh_token": CANARY}),
    ("POST", "/api/sessions/end", {"refresh_token": CANARY}),
    ("DELETE", f"/api/sessions/{CANARY}", None),
]


def test_no_secret_is_in_answers_logs_or_metrics(
    etcd: Etcd, make_platform: Callable[..., Platform], database: Database
) -> None:
    platform = make_platform(
        etcd, env={"DB_DSN": database.go_dsn, "JWT_PREVIOUS_SECRETS": PREVIOUS, "LOG_LEVEL": "DEBUG"}
    )
    with platform.client() as client:
        seen = [answer for path in ["/api/register", "/api/login"] for answer in provoked(client, path)]
        token = client.post("/api/login", json=account(password=CANARY)).json()["token"]
        headers = [f"Bearer {token}", f"Bearer {token}x", f"Basic {token}", f"Bearer {PREVIOUS}"]
        seen += [client.get("/api/profile", headers={"Authorization": value}) for value in headers]
        bearer = {"Authorization": f"Bearer {token}"}
        seen += [client.request(method, path, json=body, headers=bearer) for method, path, body in WITH_TOKEN]
    assert {answer.status_code for answer in seen} == {200, 400, 401, 403, 404, 405, 409, 415}
    processes = [*platform.users, *platform.gateways]
    texts = [answer.text + str(answer.headers) for answer in seen]
    texts += [admin(process, "/metrics").text for process in processes]
    (row,) = database.execute("SELECT password FROM users")
    for process in processes:
        process.terminate()
        assert process.wait() == 0
        texts.append(process.output)
    # JSON log lines are ASCII
    escaped = json.dumps(CANARY)[1:-1]
    for secret in [CANARY, escaped, token, row["password"], DATABASE_PASSWORD, PREVIOUS, platform.jwt_secret]:
        assert not [text for text in texts if secret in text], f"{secret} leaked"


def provoked(client: httpx.Client, path: str) -> Iterator[httpx.Response]:
    """Give the answers to requests that carry the canary in every place, well-formed and not."""
    for body in [
        account(password=CANARY),
        account(password=CANARY + "x"),
        account(password=CANARY * 9),
        account(name=CANARY),
        {**account(), CANARY: CANARY},
        {"username": [CANARY], "password": {CANARY: CANARY}},
        [CANARY],
        CANARY,
    ]:
        yield client.post(path, json=body)
    for raw in [json.dumps(account(password=CANARY))[:-1], CANARY, f'{{"a":1,"a":"{CANARY}"}}']:
        yield client.post(path, content=raw, headers={"Content-Type": "application/json"})
    yield client.post(path, data=account(password=CANARY))
    yield client.get(path, params={"password": CANARY})
    yield client.get(f"/{CANARY}")
