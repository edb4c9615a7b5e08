"""Sends HTTP requests, one after the other, and writes each answer as a JSON line. Needs the standard library alone."""

import errno
import http.client
import json
import sys
import time
from urllib.parse import urlsplit

SECONDS = 15
"""For which a Service may lead nowhere, or to a pod that is gone: until the node has heard of the change. What clients
lose by that, traffic.py tells."""
LATE = (errno.ECONNREFUSED, errno.EHOSTUNREACH)


def connect(connection: http.client.HTTPConnection) -> None:
    """Connect, and try again where nobody is yet, or any more."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return connection.connect()
        except OSError as error:
            if error.errno not in LATE or time.monotonic() > deadline:
                raise
        time.sleep(0.2)


for sent in json.loads(sys.argv[1]):
    url = urlsplit(sent["url"])
    connection = http.client.HTTPConnection(url.hostname or "", url.port or 80, timeout=sent.get("timeout", 20))
    try:
        connect(connection)
        connection.request(sent["method"], url.path, sent.get("body", "").encode() or None, sent.get("headers", {}))
        answer = connection.getresponse()
        text = answer.read().decode()
        print(json.dumps({"status": answer.status, "headers": dict(answer.getheaders()), "body": text}), flush=True)
    finally:
        connection.close()
