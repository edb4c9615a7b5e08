"""Receivers of OTLP spans: one that takes them, over HTTP or gRPC, and one that accepts connections, and no more."""

import gzip
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.support.wait import wait_until


@dataclass(frozen=True)
class Span:
    """A span that arrived."""

    service: str
    name: str
    kind: str
    trace_id: str
    id: str
    parent: str
    failed: bool
    attributes: dict[str, Any]
    message: Message = field(repr=False)


class Receiver:
    """Keeps what arrives, and refuses everything while `refusal` is an HTTP status; use it as a context manager."""

    def __init__(self, protocol: str = "http/protobuf", port: int = 0) -> None:
        self.protocol = protocol
        self.refusal = 0
        self.headers: list[dict[str, str]] = []
        self.raw: list[bytes] = []
        self._stop = _serve_grpc(self, port) if protocol == "grpc" else _serve_http(self, port)
        self.port: int

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop()

    @property
    def env(self) -> dict[str, str]:
        """The variables that lead here, with little delay."""
        return environment(self.port, self.protocol)

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for raw in list(self.raw)
            for group in ExportTraceServiceRequest.FromString(raw).resource_spans
            for scope in group.scope_spans
            for span in (_read(_attributes(group.resource.attributes), message) for message in scope.spans)
        ]

    def trace(self, trace_id: str, count: int) -> list[Span]:
        """Wait for `count` spans of a trace."""

        def arrived() -> list[Span]:
            found = [span for span in self.spans if span.trace_id == trace_id]
            return found if len(found) >= count else []

        return wait_until(arrived, 10, what=f"{count} spans of {trace_id}")


def environment(port: int, protocol: str = "http/protobuf") -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }


class HungReceiver:
    """Accepts every connection, reads nothing and answers nothing."""

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._listener.close()
        for connection in self.connections:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                self.connections.append(self._listener.accept()[0])
            except OSError:
                return


def _serve_http(receiver: Receiver, port: int) -> Any:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
            answer = ExportTraceServiceResponse().SerializeToString()
            taken = self.path == "/v1/traces" and not receiver.refusal
            if taken:
                receiver.raw.append(body)
            self.send_response(200 if taken else receiver.refusal or 404)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    receiver.port = server.server_port
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return stop


def _serve_grpc(receiver: Receiver, port: int) -> Any:
    class Service(TraceServiceServicer):
        def Export(  # noqa: N802  # the name of the RPC
            self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
        ) -> ExportTraceServiceResponse:
            receiver.headers.append({str(key): str(value) for key, value in context.invocation_metadata()})
            if receiver.refusal:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "the receiver's own words")
            receiver.raw.append(request.SerializeToString())
            return ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    add_TraceServiceServicer_to_server(Service(), server)  # type: ignore[no-untyped-call]
    receiver.port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return lambda: server.stop(None).wait()


def _read(resource: dict[str, Any], message: Message) -> Span:
    return Span(
        service=resource["service.name"],
        name=message.name,
        kind=Message.SpanKind.Name(message.kind).removeprefix("SPAN_KIND_"),
        trace_id=message.trace_id.hex(),
        id=message.span_id.hex(),
        parent=message.parent_span_id.hex(),
        failed=message.status.code == Status.STATUS_CODE_ERROR,
        attributes={**_attributes(message.attributes), **{f"resource.{name}": v for name, v in resource.items()}},
        message=message,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(each) for each in value.array_value.values] if kind == "array_value" else getattr(value, kind)
