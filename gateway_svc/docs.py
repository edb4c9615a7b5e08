"""/docs and /openapi.json: the contract for people and for tools, served from memory with nothing from elsewhere."""

from typing import Any

import orjson
from connexion.middleware.abstract import SpecMiddleware
from connexion.spec import Specification
from starlette.types import ASGIApp, Receive, Scope, Send
from swagger_ui_bundle import swagger_ui_path

from gateway_svc import problems
from gateway_svc.fastpath import ROUTE

_INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
});
"""
_TYPES = {"css": b"text/css; charset=utf-8", "js": b"text/javascript; charset=utf-8", "png": b"image/png"}
_HEADERS = [
    (
        b"content-security-policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
            b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
    ),
    (b"referrer-policy", b"no-referrer"),
]


class Docs(SpecMiddleware):
    """Serves its own paths and passes all others on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._files = {
            f"/docs/{name}": (_TYPES[name.rpartition(".")[2]], (swagger_ui_path / name).read_bytes())
            for name in ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
        }
        self._files["/docs/start.js"] = (_TYPES["js"], _START.encode())

    def add_api(self, specification: Specification, *_: Any, **__: Any) -> None:
        """Serve `specification`."""
        title = specification["info"]["title"]
        self._files["/docs"] = (b"text/html; charset=utf-8", _INDEX.format(title=title).encode())
        self._files["/openapi.json"] = (b"application/json", orjson.dumps(specification.raw))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for a document, or pass the request on."""
        document = self._files.get(scope.get("path", ""))
        if document is None:
            await self._app(scope, receive, send)
            return
        scope["extensions"][ROUTE] = "/openapi.json" if scope["path"] == "/openapi.json" else "/docs"
        if scope["method"] not in ("GET", "HEAD"):
            raise problems.method_not_allowed("GET, HEAD")
        content_type, body = document
        headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *_HEADERS]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
