"""Metrics of the user service."""

from collections.abc import Callable, Iterable

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

from service_kit.telemetry.metrics import LATENCY_BUCKETS

HASH_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0)
"""Seconds; a hash of cost 14 takes about one, a call five at most."""

grpc_handled = Counter(
    "grpc_server_handled_total",
    "Calls that were answered, by status code.",
    ["grpc_service", "grpc_method", "grpc_code"],
)
grpc_seconds = Histogram(
    "grpc_server_handling_seconds",
    "Seconds from a call's arrival at its handler to its answer.",
    ["grpc_service", "grpc_method"],
    buckets=LATENCY_BUCKETS,
)
logins = Counter("logins_total", "Logins by result.", ["result"])
login_throttle = Counter(
    "login_throttle_total",
    "Password attempts throttled after wrong ones, by bucket; refused in mode enforce.",
    ["bucket", "mode"],
)
registrations = Counter("registrations_total", "Registrations by result.", ["result"])
password_changes = Counter("password_changes_total", "Changes of passwords by their users, by result.", ["result"])
accounts_deleted = Counter("accounts_deleted_total", "Accounts deleted by their users.")

sessions_opened = Counter("sessions_opened_total", "Sessions that were opened.")
session_refreshes = Counter("session_refreshes_total", "Refreshes of sessions by result.", ["result"])
sessions_ended = Counter("sessions_ended_total", "Sessions that ended before they expired, by reason.", ["reason"])

hash_seconds = Histogram("password_hash_seconds", "Seconds of a core per password hash.", buckets=HASH_BUCKETS)
hash_queue_depth = Gauge("password_hash_queue_depth", "Calls that wait for a core to hash on.")
hash_rejected = Counter("password_hash_rejected_total", "Calls refused because they could not be hashed in time.")

db_pool_connections = Gauge("db_pool_connections", "Connections to the database.", ["state"])
db_pool_connections_max = Gauge("db_pool_connections_max", "Maximum number of connections to the database.")
database_read_only = Gauge("database_read_only", "1 while the database answers and accepts no writes, otherwise 0.")
db_query_seconds = Histogram(
    "db_query_duration_seconds", "Seconds of a statement on its connection.", buckets=LATENCY_BUCKETS
)

serving_status = Gauge("serving_status", "1 while the name is SERVING on grpc.health.v1, otherwise 0.", ["service"])

_lease_held = Gauge(
    "registry_lease_held", "1 while this instance is registered under a live lease, otherwise 0.", registry=None
)
_REASONS = ("start", "reconnected", "lease_lost", "key_deleted", "key_overwritten")
"""Those that the registrar gives for writing its key."""
lease_registrations = Counter("registry_registrations_total", "Registrations in etcd by reason.", ["reason"])

# A counter that appears with its first event hides that event from rate() and increase(): all begin at zero.
for _result in ("success", "denied", "invalid"):
    logins.labels(_result)
for _result in ("changed", "denied", "invalid"):
    password_changes.labels(_result)
for _result in ("created", "duplicate", "invalid"):
    registrations.labels(_result)
for _result in (
    *("rotated", "repeated", "recovered", "reused", "reused_before"),
    *("unknown", "expired", "ended", "password_changed", "disabled"),
):
    session_refreshes.labels(_result)
for _reason in ("logout", "logout_all", "limit", "reused", "password_changed", "deleted"):
    sessions_ended.labels(_reason)


def declare_calls(service: str, methods: Iterable[str], codes: Iterable[str]) -> None:
    """Make the series of `service` exist from the start, at zero."""
    for method in methods:
        grpc_seconds.labels(service, method)
        for code in codes:
            grpc_handled.labels(service, method, code)


def follow_lease(held: Callable[[], bool]) -> None:
    """Export whether this instance is registered. One without a registry exports nothing."""
    _lease_held.set_function(lambda: float(held()))
    REGISTRY.register(_lease_held)
    for reason in _REASONS:
        lease_registrations.labels(reason)
