"""A receiver of OTLP over HTTP that reads what it is sent and keeps nothing. Run as a process."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench.listening import announce


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    announce(server.server_port)
    server.serve_forever()
