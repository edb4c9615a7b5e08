"""A gRPC proxy before an etcd: for what a network, or a proxy in it, does to calls."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Self

import grpc

from tests.support.etcd import free_port


class EtcdProxy:
    """Forwards calls to an etcd, holding back what it is told to; use it as a context manager."""

    def __init__(self, upstream: str) -> None:
        self._port = free_port()
        self._server: grpc.Server | None = None
        self._channel = _connect(upstream)
        self._changed = threading.Condition()
        self._held: dict[str, int] = {}
        self.calls: Counter[str] = Counter()
        """How often each method was called, by its last name."""

    def __enter__(self) -> Self:
        self.restore()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self.cut()
        self._channel.close()

    @property
    def endpoint(self) -> str:
        """Where clients reach it."""
        return f"127.0.0.1:{self._port}"

    def cut(self) -> None:
        """Break all connections, and refuse new ones."""
        if self._server is not None:
            self._server.stop(grace=None).wait()
            self._server = None

    def restore(self) -> None:
        """Accept connections again."""
        self._server = grpc.server(ThreadPoolExecutor(32), handlers=[_Handler(self._forward)])
        self._server.add_insecure_port(self.endpoint)
        self._server.start()

    def lead_to(self, upstream: str) -> None:
        """Send new calls to another etcd; those under way go on with the one they have."""
        self._channel = _connect(upstream)

    def hold_requests(self, method: str) -> None:
        """Hold back each request to `method` until release(); then it is sent even if its client has cancelled it."""
        with self._changed:
            self._held[f"request {method}"] = 0

    def hold_answers(self, method: str, *, after: int = 0) -> None:
        """Hold back the answers of `method`, in each call those after the first few, until release()."""
        with self._changed:
            self._held[f"answer {method}"] = after

    def release(self) -> None:
        """Let through what was held back."""
        with self._changed:
            self._held.clear()
            self._changed.notify_all()

    def _wait(self, what: str, count: int = 0) -> None:
        with self._changed:
            self._changed.wait_for(lambda: count < self._held.get(what, count + 1))

    def _forward(self, method: str, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        name = method.rpartition("/")[2]
        self.calls[name] += 1
        first = next(requests)
        self._wait(f"request {name}")

        def all_requests() -> Iterator[bytes]:
            yield first
            with suppress(grpc.RpcError):  # the client has cancelled the call, and etcd is not to know
                yield from requests

        metadata = tuple((key, value) for key, value in context.invocation_metadata() if key in ("token", "hasleader"))
        connect: Any = self._channel.stream_stream(method)
        call = connect(all_requests(), metadata=metadata)
        context.add_callback(call.cancel)
        try:
            for number, answer in enumerate(call):
                self._wait(f"answer {name}", number)
                yield answer
        except grpc.RpcError as error:
            self._wait(f"answer {name}")
            context.abort(error.code(), error.details() or "")


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, forward: Callable[[str, Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]) -> None:
        self._forward = forward

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method
        return grpc.stream_stream_rpc_method_handler(lambda requests, context: self._forward(method, requests, context))


def _connect(upstream: str) -> grpc.Channel:
    return grpc.insecure_channel(upstream, [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)])
