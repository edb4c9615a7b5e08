"""Sends HTTP requests, one after the other, and writes each answer as a JSON line. Needs the standard library alone."""

import http.client
import json
import sys
from urllib.parse import urlsplit

for sent in json.loads(sys.argv[1]):
    url = urlsplit(sent["url"])
    connection = http.client.HTTPConnection(url.hostname or "", url.port or 80, timeout=sent.get("timeout", 20))
    try:
        connection.request(sent["method"], url.path, sent.get("body", "").encode() or None, sent.get("headers", {}))
        answer = connection.getresponse()
        text = answer.read().decode()
        print(json.dumps({"status": answer.status, "headers": dict(answer.getheaders()), "body": text}), flush=True)
    finally:
        connection.close()
