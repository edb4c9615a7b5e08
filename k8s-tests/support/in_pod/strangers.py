"""Tries to use the user service, etcd and MySQL with each of several identities; writes what came of it as JSON.

Takes a JSON object: `peers` as `host:port`, `identities` as a CA, a certificate and its key in PEM, or null for
plaintext, and `mysql`, the user and the password.
"""

import contextlib
import json
import os
import ssl
import sys
from typing import Any

import grpc
import pymysql

SECONDS = 5
METHODS = {
    "user-svc": ["/user.v1.UserService/Login", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"],
    "etcd": ["/etcdserverpb.KV/Range"],
}
REQUESTS = {"Login": b"", "ServerReflectionInfo": b"\x3a\x00", "Range": b"\x0a\x01x"}

Identity = dict[str, str] | None


def call(peer: str, identity: Identity, name: str, method: str) -> str:
    """Return how a call ends."""
    if identity is None:
        channel = grpc.insecure_channel(peer)
    else:
        parts = (identity.get(part, "").encode() or None for part in ("ca", "key", "certificate"))
        options = [("grpc.ssl_target_name_override", name)]
        channel = grpc.secure_channel(peer, grpc.ssl_channel_credentials(*parts), options)
    with channel:
        request: Any = REQUESTS[method.rpartition("/")[2]]  # bytes, which the stubs know nothing of
        try:
            if method.endswith("Info"):
                next(channel.stream_stream(method)(iter([request]), timeout=SECONDS))
            else:
                channel.unary_unary(method)(request, timeout=SECONDS)
        except grpc.RpcError as error:
            code: str = error.code().name
            return code
    return "OK"


def log_in(peer: str, identity: Identity, mysql: dict[str, Any]) -> str:
    """Return how a login to MySQL ends."""
    host, _, port = peer.rpartition(":")
    context = None
    if identity is not None:
        context = ssl.create_default_context(cadata=identity["ca"])
        if "certificate" in identity:
            with open_in_memory(identity["certificate"] + identity["key"]) as path:
                context.load_cert_chain(path)
    try:
        pymysql.connect(host=host, port=int(port), ssl=context, connect_timeout=SECONDS, **mysql).close()
    except (pymysql.err.MySQLError, ssl.SSLError) as error:
        return f"{type(error).__name__} {error.args[0]}"
    return "OK"


@contextlib.contextmanager
def open_in_memory(text: str) -> Any:
    """Give the path of a file that holds `text`; the pod has none that can be written."""
    with os.fdopen(os.memfd_create("identity"), "w") as file:
        file.write(text)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def main() -> None:
    """Try all."""
    given = json.loads(sys.argv[1])
    answers: dict[str, dict[str, str]] = {}
    for name, identity in given["identities"].items():
        found = answers.setdefault(name, {})
        for chart, peer in given["peers"].items():
            if chart == "mysql":
                found[chart] = log_in(peer, identity, given["mysql"])
                continue
            for method in METHODS[chart]:
                override = "user-svc" if chart == "user-svc" else peer.partition(":")[0]
                found[method.rpartition("/")[2]] = call(peer, identity, override, method)
    print(json.dumps(answers))


main()
