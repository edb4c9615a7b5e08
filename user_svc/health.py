"""Health: the three names that this instance serves on grpc.health.v1, what they depend on, and liveness."""

import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from service_kit import grpc_tls
from service_kit.files import Certificates, MountedFiles
from service_kit.threads import EssentialThread, died
from user_svc import metrics

READINESS = "readiness"
LIVENESS = "liveness"

_CHECK_TIMEOUT = 1.0
"""Seconds."""
_CHANNEL_OPTIONS: list[tuple[str, str | int]] = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]

_CHECK_THREADS = 4
_REFRESH = 0.25
"""Seconds; a lease can run out without an event."""


class Health:
    """Keeps the names up to date.

    `liveness` and the empty name are SERVING as long as the process answers. The service's own name is SERVING when
    the database answers and this instance does not drain. `readiness` needs the lease of the registration as well, and
    that the database accepts writes.
    """

    def __init__(
        self,
        service: str,
        lease_is_held: Callable[[], bool],
        database_answers: Callable[[], bool],
        database_obstacle: Callable[[], str],
    ) -> None:
        """`database_obstacle` is why the database cannot be used, or only be read; empty when it accepts writes."""
        self._service = service
        self._lease_is_held = lease_is_held
        self._database_answers = database_answers
        self._database_obstacle = database_obstacle
        self._draining = False
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._served: dict[str, bool] = {}
        # Watch takes no thread a watcher, and neither Check nor Watch one of those that calls wait for hashes on.
        self._threads = ThreadPoolExecutor(_CHECK_THREADS, thread_name_prefix="health")
        self.servicer = _Servicer(self._threads)
        self.thread = EssentialThread("health", self._run)
        self.refresh()

    def start(self) -> None:
        """Check what expires without an event."""
        self.thread.start()

    def refresh(self) -> None:
        """Recompute the status of every name; call it when something has changed."""
        with self._lock:
            usable = not self._draining and self._database_answers()
            self._serve(LIVENESS, serving=True)
            self._serve(self._service, serving=usable)
            self._serve(READINESS, serving=self.missing() is None)

    def missing(self) -> str | None:
        """Return what keeps `readiness` from SERVING, or None."""
        if self._draining:
            return "draining"
        if obstacle := self._database_obstacle():
            return obstacle
        if not self._lease_is_held():
            return "not registered"
        return None

    def drain(self) -> None:
        """Report NOT_SERVING from now on; liveness stays SERVING."""
        self._draining = True
        self.refresh()

    def end_watches(self) -> None:
        """End the watches; call it when the server accepts no more calls."""
        self.servicer.end_watches()

    def stop(self) -> None:
        """Stop checking the dependencies of the names."""
        self._stopped.set()
        self.thread.join()
        self._threads.shutdown(wait=False)

    def _serve(self, name: str, *, serving: bool) -> None:
        if self._served.get(name) == serving:
            return
        self._served[name] = serving
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        self.servicer.set(name, status)
        metrics.serving_status.labels(name).set(serving)

    def _run(self) -> None:
        while not self._stopped.wait(_REFRESH):
            self.refresh()


class Liveness:
    """Whether this process can serve: it asks its own port for `liveness`, and looks after its threads."""

    def __init__(
        self,
        target: str,
        threads: Collection[EssentialThread],
        certificates: MountedFiles[Certificates] | None = None,
    ) -> None:
        """Check `target`, with the port's own `certificates` where it requires TLS; none of `threads` may have died."""
        self._target = target
        self._certificates = certificates
        self._connect()
        if certificates is not None:
            certificates.on_change(self._connect)
        self._threads = threads
        self._ended = False

    def problem(self) -> str | None:
        """Return what is wrong with the process, None when nothing is."""
        if self._ended:
            return None
        if dead := died(self._threads):
            return dead
        request = health_pb2.HealthCheckRequest(service=LIVENESS)
        try:
            answer = self._stub.Check(request, timeout=_CHECK_TIMEOUT, wait_for_ready=True)
        except grpc.RpcError as error:
            return None if self._ended else f"the service's own port does not answer: {error.code().name}"
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            return "the service's own port says that it does not live"
        return None

    def _connect(self) -> None:
        """Ask on a new channel from now on; questions under way keep theirs."""
        options: list[tuple[str, str | int]] = [*_CHANNEL_OPTIONS]
        credentials = None
        if self._certificates is not None:
            own = self._certificates.value
            options += grpc_tls.server_name_options(own.names[0] if own.names else "")
            credentials = grpc_tls.channel_credentials(own)
        self._channel = grpc_tls.open_channel(self._target, options, credentials)
        self._stub: Any = health_pb2_grpc.HealthStub(self._channel)

    def end(self) -> None:
        """Report no problem from now on: a stopping process need not be restarted, and its threads end."""
        self._ended = True

    def close(self) -> None:
        """Close the connection to the port."""
        self._channel.close()


class _Servicer(health.HealthServicer):
    """The library's, with functions of its own: the library keeps a servicer's options on the class's functions."""

    _lock: threading.RLock
    _send_response_callbacks: dict[str, set[Callable[[Any], None]]]

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        super().__init__(experimental_non_blocking=True, experimental_thread_pool=threads)
        self.Check.__func__.experimental_thread_pool = threads  # type: ignore[attr-defined]
        self._threads = threads

    def Check(self, *call: Any) -> Any:  # the contract's name
        """Answer for one name, now."""
        return super().Check(*call)

    def Watch(self, *call: Any, **options: Any) -> Any:  # the contract's name
        """Answer for one name, now and at each change."""
        return super().Watch(*call, **options)

    def end_watches(self) -> None:
        """End every Watch; a server that stops would wait for them until its grace is over."""
        with self._lock:
            watchers = [send for sends in self._send_response_callbacks.values() for send in sends]
        for send in watchers:
            send(None)

    def _on_close_callback(self, send: Callable[[Any], None], service: str) -> Callable[[], None]:
        # The server's only event thread runs this when a watcher leaves. The library would have it wait for a lock
        # that is held while a status is sent, and sending waits for the event thread.
        def forget() -> None:
            with self._lock:
                self._send_response_callbacks[service].discard(send)

        def callback() -> None:
            with suppress(RuntimeError):  # the threads are shut down: there is nothing left to forget
                self._threads.submit(forget)

        return callback
