"""nginx and HAProxy in front of gateways, on a free port of 127.0.0.1."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.etcd import free_port
from tests.support.wait import wait_until

_NGINX = """
daemon off;
master_process off;  # or it gives up root, and with it this folder
pid nginx.pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy;
  fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  upstream gateway {{ {servers} keepalive 16; }}
  server {{ listen 127.0.0.1:{port}; {server} }}
}}
"""
_HAPROXY = """
global
  maxconn 1000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen gateway
  bind 127.0.0.1:{port}
  http-reuse always
  {rules}
  {servers}
"""
_HAPROXY_TCP = """
global
  maxconn 1000
defaults
  mode tcp
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  timeout check 1s
  option redispatch 1
listen database
  bind 127.0.0.1:{port}
  balance roundrobin
  option httpchk GET /
  default-server check inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
  {servers}
"""


@contextmanager
def nginx(folder: Path, targets: Sequence[str], server: str) -> Iterator[int]:
    """Run nginx over the upstream `gateway`, made of `targets`, with `server` in its server block; yield its port."""
    port, servers = free_port(), " ".join(f"server {target};" for target in targets)
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(port=port, servers=servers, server=server))
    with _running("nginx", ["-p", f"{folder}/", "-c", str(config), "-e", "stderr"], port):
        yield port


@contextmanager
def haproxy(folder: Path, targets: Sequence[str], rules: Sequence[str] = ()) -> Iterator[int]:
    """Run HAProxy over `targets` with `rules`, which accepts HTTP/2 with prior knowledge as well; yield its port."""
    port, servers = free_port(), [f"server gateway{number} {target}" for number, target in enumerate(targets)]
    config = folder / "haproxy.cfg"
    config.write_text(_HAPROXY.format(port=port, rules="\n  ".join(rules), servers="\n  ".join(servers)))
    with _running("haproxy", ["-db", "-f", str(config)], port):
        yield port


@contextmanager
def haproxy_tcp(folder: Path, targets: Mapping[int, int]) -> Iterator[int]:
    """Run HAProxy over ports of 127.0.0.1, for each the one where GET / answers 200 while it is usable."""
    port = free_port()
    servers = [f"server s{target} 127.0.0.1:{target} port {check}" for target, check in targets.items()]
    config = folder / "haproxy.cfg"
    config.write_text(_HAPROXY_TCP.format(port=port, servers="\n  ".join(servers)))
    with _running("haproxy", ["-db", "-f", str(config)], port):
        yield port


@contextmanager
def _running(name: str, arguments: Sequence[str], port: int) -> Iterator[None]:
    program = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if program is None:
        pytest.skip(f"{name} is not on the PATH; on Debian and Ubuntu: apt install {name}")
    with subprocess.Popen([program, *arguments], stdin=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: process.poll() is not None or _listens(port), what=f"{name} to listen")
            assert process.poll() is None, f"{name} ended with {process.returncode}"
            yield
        finally:
            process.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
