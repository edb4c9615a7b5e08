"""One `helm install` gives all of it, and it works."""

import json
import os
import socket
import subprocess
from pathlib import Path

from support.platform import JSON, Platform


def test_release_test_is_green(platform: Platform) -> None:
    platform.release.test()
    log = platform.release.test()
    assert "ok  the token opens the profile: 200" in log, "the second run finds its user"


def test_seed_flow_byte_for_byte(platform: Platform) -> None:
    user = json.dumps({"username": "testuser123", "password": "password123"})
    wrong = json.dumps({"username": "testuser123", "password": "password124"})

    def post(path: str, body: str) -> dict[str, object]:
        return {"method": "POST", "url": platform.gateway + path, "body": body, "headers": JSON}

    ping, first, again, login, refused = platform.client_pod.ask(
        {"method": "GET", "url": f"{platform.gateway}/ping"},
        post("/api/register", user),
        post("/api/register", user),
        post("/api/login", user),
        post("/api/login", wrong),
    )

    assert (ping["status"], ping["body"]) == (200, '{"message":"pong"}')
    number = json.loads(first["body"])["user_id"]
    assert number > 0
    assert (first["status"], first["body"]) == (200, f'{{"code":200,"msg":"注册成功","user_id":{number}}}')
    assert (again["status"], again["body"]) == (409, '{"code":409,"msg":"用户名已存在","user_id":0}')
    token = json.loads(login["body"])["token"]
    assert token.count(".") == 2
    welcome = f'{{"code":200,"msg":"登录成功","token":"{token}","user_id":{number}}}'
    assert (login["status"], login["body"]) == (200, welcome)
    assert (refused["status"], refused["body"]) == (401, '{"code":401,"msg":"密码错误","token":"","user_id":0}')
    profile = platform.profile(token)
    data = f'{{"user_id":{number},"username":"testuser123"}}'
    assert (profile["status"], profile["body"]) == (200, f'{{"code":200,"msg":"获取用户信息成功","data":{data}}}')


def test_notes_work_when_pasted(platform: Platform, tmp_path: Path) -> None:
    """From outside, by way of kubectl; with a port that is free here in the place of 8080."""
    context = platform.namespace.cluster.context.name
    view = ["kubectl", "config", "view", "--raw", "--minify", "--flatten", f"--context={context}"]
    config = tmp_path / "kubeconfig"
    config.write_text(subprocess.run(view, capture_output=True, text=True, timeout=30, check=True).stdout)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    notes = platform.release.helm("get", "notes", "vp").partition("Made once and kept")[0]
    lines = [line.strip() for line in notes.splitlines() if line.startswith("  ")]
    assert len(lines) >= 7
    script = "\n".join(lines).replace("8080:8080", f"{port}:8080").replace("127.0.0.1:8080", f"127.0.0.1:{port}")
    # a person takes longer to paste than the forwarding takes to begin
    script = script.replace(
        " &\n", f" > forward.log &\nuntil grep -q 'from 127.0.0.1:{port}' forward.log; do :; done\n"
    )
    run = subprocess.run(
        ["bash", "-c", f"set -eu; trap 'kill $(jobs -p)' EXIT\n{script}"],
        capture_output=True,
        text=True,
        timeout=90,
        cwd=tmp_path,
        env={**os.environ, "KUBECONFIG": str(config)},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert '{"message":"pong"}' in run.stdout
    assert '"msg":"登录成功"' in run.stdout
