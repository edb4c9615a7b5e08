"""/docs and /openapi.json: the contract for people and for tools, served from memory without external resources."""

from mmap import ACCESS_READ, mmap
from pathlib import Path

import orjson
from connexion.spec import Specification
from starlette.types import Scope
from swagger_ui_bundle import swagger_ui_path

from gateway_svc import problems

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
Document = tuple[int, bytes | None, bytes | mmap, problems.Headers]
"""Status, content type, body and further headers."""

_REDIRECT: Document = (308, None, b"", [(b"location", b"../docs"), (b"content-length", b"0")])


class Documents:
    """The documents of a contract, each at a path of its own."""

    def __init__(self, *, served: bool = True) -> None:
        """Find no document at all unless they are `served`."""
        self._served = served
        self._found: dict[str, Document] = {}
        if not served:
            return
        self._found["/docs/"] = _REDIRECT
        for name in ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"):
            self._add(f"/docs/{name}", _TYPES[name.rpartition(".")[2]], _map(swagger_ui_path / name))
        self._add("/docs/start.js", _TYPES["js"], _START.encode())

    def add(self, specification: Specification) -> None:
        """Serve `specification`."""
        if not self._served:
            return
        title = specification["info"]["title"]
        self._add("/docs", b"text/html; charset=utf-8", _INDEX.format(title=title).encode())
        # Relative to the document: behind a proxy that strips a prefix, /openapi.json does not know where it is.
        servers = [{"url": f".{specification.base_path}"}]
        self._add("/openapi.json", b"application/json", orjson.dumps({**specification.raw, "servers": servers}))

    def route(self, path: str) -> str | None:
        """Return the route that is recorded for a request of `path`, None when there is no document."""
        if path not in self._found:
            return None
        return "/openapi.json" if path == "/openapi.json" else "/docs"

    def find(self, scope: Scope) -> Document | None:
        """Return the document that is asked for, None when there is none.

        Raises:
            Problem: 405.
        """
        document = self._found.get(scope["path"])
        if document is not None and scope["method"] not in ("GET", "HEAD"):
            raise problems.method_not_allowed("GET, HEAD")
        return document

    def _add(self, path: str, content_type: bytes, body: bytes | mmap) -> None:
        self._found[path] = (200, content_type, body, _HEADERS)


def _map(path: Path) -> mmap:
    """Return a file that takes no memory of the process until it is asked for, and is shared by all who ask."""
    with path.open("rb") as file:
        return mmap(file.fileno(), 0, access=ACCESS_READ)
