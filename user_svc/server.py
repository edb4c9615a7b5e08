"""The running service: startup and shutdown order."""

import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from protos.user.v1 import user_pb2, user_pb2_grpc
from protos.user.v1.contract import SERVICE
from service_kit import grpc_tls, ports
from service_kit.files import Certificates, MountedFiles, Reader, Use
from service_kit.grpc_tls import ClientNames
from service_kit.process import StopSignal
from service_kit.registry import Instance, Registrar
from service_kit.telemetry.logs import LIFECYCLE
from user_svc import cpu_quota, metrics, service
from user_svc.accounts import AccountStore
from user_svc.calls import STATUSES, CallInterceptor
from user_svc.config import UserSettings
from user_svc.database import Database
from user_svc.hash_queue import HashQueue
from user_svc.health import Health, Liveness
from user_svc.monitor import DatabaseMonitor
from user_svc.passwords import Hasher
from user_svc.purge import Purge
from user_svc.sessions import SessionStore
from user_svc.standing import Standing
from user_svc.store import Store
from user_svc.stored_costs import StoredCosts
from user_svc.throttle import Throttle

SPARE_THREADS = 16
"""Handler threads beside those that wait for a hash, so that calls without one keep their pace."""

_NICENESS = {Standing.OWNER: 0, Standing.USUAL: 4, Standing.DOUBTFUL: 12}
"""Added to that of the process while a password is hashed. If two hashes need the same core, an owner's gets 2.4 times
as much of it as a usual one, and a usual one 6 times as much as a doubtful one (sched(7))."""

_DEREGISTRATION = 1.0
"""Seconds for etcd to revoke the lease, unless draining takes longer anyway."""

ABANDON_AFTER = 4.0
"""Seconds that the end of the process may take when GRACE is over; charts plan 5."""

_MAX_MESSAGE = 16 * 1024
"""Bytes; a request holds a name and a password."""

_OPTIONS = [
    # Two processes on one port would each get a part of the calls; without this the second one says nothing.
    ("grpc.so_reuseport", 0),
    # Gateways ask every 4 s whether a silent instance is alive; by default that is answered with GOAWAY.
    ("grpc.http2.min_ping_interval_without_data_ms", 3000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 3000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A gateway that vanished without a word must not keep its health watches open.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
]

logger = logging.getLogger(LIFECYCLE)


class Server:
    """The user service on its port."""

    def __init__(self, settings: UserSettings) -> None:
        """Bind the port; nothing is answered yet.

        Raises:
            PortTakenError: when it cannot be had.
        """
        self._settings = settings
        self._reader = Reader(settings.file_poll_interval)
        tls = settings.tls_files("GRPC_TLS", Use.SERVER, Use.CLIENT)
        certificates = tls.follow(self._reader) if tls is not None else None
        self._database = Database(
            settings.followed_database(self._reader),
            pool_size=settings.db_pool_size,
            max_overflow=settings.db_max_overflow,
            recycle=settings.db_pool_recycle,
        )
        hasher = Hasher(settings.bcrypt_cost)
        slots, seconds = settings.hash_slots or cpu_quota.available(), hasher.calibrate()
        self._hash_queues = {
            standing: HashQueue(hasher, slots, seconds, niceness=niceness) for standing, niceness in _NICENESS.items()
        }
        self._registrar: Registrar | None = None
        self._monitor = DatabaseMonitor(self._database, settings.database_variable, self._refresh)
        self._health = Health(
            SERVICE, self._lease_is_held, lambda: self._monitor.answers, lambda: self._monitor.obstacle
        )
        self._threads = ThreadPoolExecutor(
            sum(queue.capacity for queue in self._hash_queues.values()) + SPARE_THREADS, thread_name_prefix="call"
        )
        self._grpc = grpc.server(
            self._threads,
            interceptors=[
                *([ClientNames(settings.client_names, certificates)] if certificates is not None else []),
                CallInterceptor(SERVICE, self._monitor.ask, settings.access_log_sample),
            ],
            options=_OPTIONS,
        )
        methods = user_pb2.DESCRIPTOR.services_by_name["UserService"].methods_by_name
        metrics.declare_calls(SERVICE, methods, [code.name for code in STATUSES])
        store = Store(self._database)
        throttle = Throttle(self._database, settings.throttle_mode)
        users = service.UserService(
            store,
            AccountStore(self._database),
            SessionStore(self._database),
            self._hash_queues,
            throttle,
            self._monitor,
            password_check=settings.password_check,
        )
        self._stored_costs = StoredCosts(store, hasher, lambda: self._monitor.answers)
        self._purge = Purge(self._database, lambda: self._monitor.writable)
        user_pb2_grpc.add_UserServiceServicer_to_server(users, self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, self._grpc)
        if settings.grpc_reflection:
            reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._grpc)
        address = ports.listen_with(
            self._add_port(certificates), "LISTEN_PORT", settings.listen_host, settings.listen_port
        )
        self.port = address.port
        self._registrar = self._make_registrar()
        threads = [
            *(self._monitor.thread, self._stored_costs.thread, self._purge.thread),
            *(self._health.thread, self._reader.thread),
        ]
        if self._registrar is not None:
            threads.append(self._registrar.thread)
        self._liveness = Liveness(address.target, threads, certificates)

    def livez(self) -> str | None:
        """Return what is wrong with the process, None when nothing is."""
        return self._liveness.problem()

    def readyz(self) -> str | None:
        """Return what keeps `readiness` from SERVING, None when nothing does."""
        return self._health.missing()

    def run(self, listening: Callable[[], None]) -> None:
        """Serve until a signal arrives, then drain. Must be called in the main thread."""
        stop = StopSignal()
        self._reader.start()
        self._grpc.start()
        listening()
        if not self._settings.grpc_tls_cert_file:
            logger.info("gRPC is not encrypted: GRPC_TLS_CERT_FILE is not set")
        self._monitor.start()
        self._stored_costs.start()
        self._purge.start()
        if self._registrar is not None:
            self._registrar.start()
        else:
            logger.info("not registered: ETCD_ADDRESS is not set, and readiness needs no lease")
        self._health.start()
        stop.wait()
        self._drain()

    def _drain(self) -> None:
        began = time.monotonic()
        logger.info("draining")
        self._liveness.end()
        self._health.drain()
        if self._registrar is not None:
            self._registrar.stop(timeout=max(self._settings.drain_delay, _DEREGISTRATION))
        time.sleep(max(0.0, began + self._settings.drain_delay - time.monotonic()))
        ended = self._grpc.stop(self._settings.grace)
        self._health.end_watches()
        ended.wait()
        _bound_the_rest()
        self._health.stop()
        self._stored_costs.stop()
        self._purge.stop()
        for queue in self._hash_queues.values():
            queue.close(timeout=1.0)
        self._monitor.stop(timeout=1.0)
        self._database.close()
        self._reader.stop()
        self._liveness.close()

    def _add_port(self, certificates: MountedFiles[Certificates] | None) -> Callable[[str], int]:
        if certificates is None:
            return self._grpc.add_insecure_port
        return partial(self._grpc.add_secure_port, server_credentials=grpc_tls.server_credentials(certificates))

    def _make_registrar(self) -> Registrar | None:
        settings = self._settings
        etcd = settings.etcd(self._reader)
        if etcd is None:
            return None
        metrics.follow_lease(self._lease_is_held)
        return Registrar(
            etcd,
            settings.registry_service,
            Instance(settings.advertised(self.port)),
            prefix=settings.registry_prefix,
            ttl=settings.registry_ttl,
            on_change=self._on_lease,
            on_registration=lambda reason: metrics.lease_registrations.labels(reason).inc(),
        )

    def _on_lease(self, _held: bool) -> None:  # the registrar's hook
        self._refresh()

    def _refresh(self) -> None:
        self._health.refresh()

    def _lease_is_held(self) -> bool:
        return self._registrar is None or self._registrar.held


def _bound_the_rest() -> None:
    """End the process in ABANDON_AFTER seconds, whatever still runs: threads cannot be killed."""

    def abandon() -> None:
        logger.warning("stopped without waiting for a hash or a database that takes longer")
        os._exit(0)

    timer = threading.Timer(ABANDON_AFTER, abandon)
    timer.daemon = True
    timer.start()
