"""Metrics of the gateway; every label value is bounded."""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from service_kit.telemetry.metrics import LATENCY_BUCKETS

UNMATCHED = "unmatched"
"""The route of a request that matched none."""
OTHER = "other"
"""The method of a request that no operation of the contract answered, whatever it was."""

_refresh_checks = Counter("refresh_tokens_checked_total", "Refresh tokens whose MAC was checked.", ["result"])
_signing_keys = Gauge("signing_keys", "Secrets whose tokens are accepted, including the signing one.")
_key_reloads = Counter("key_reloads_total", "Reloads of the files with the secrets of tokens, by result.", ["result"])
_revocations_age = Gauge(
    "revocations_age_seconds", "Seconds since revocations were last read; infinite before the first read."
)

_client_throttled = Counter(
    "client_throttled", "Requests beyond the rate limit of their address, refused or observed.", ["route"]
)

_connections = Gauge("http_connections", "Connections of clients.")
_refused_connections = Counter("http_connections_refused", "Connections beyond the limit, closed at once.")
_refused_requests = Counter("http_requests_refused", "Requests that the HTTP server refused by itself.", ["status"])

_users_reachable = Gauge("users_reachable", "1 while a call could be sent to a user service, otherwise 0.")
_endpoints = Gauge("registry_endpoints", "Instances in use.", ["service"])
_snapshot_age = Gauge("registry_snapshot_age_seconds", "Seconds since the registry last confirmed the instances.")
_propagation = Histogram(
    "registry_propagation_seconds",
    "Seconds from a change in the registry to the first possible use of the new instances.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0),
)

RESULTS = (
    "ok",
    "missing",
    "not_bearer",
    "malformed",
    "bad_signature",
    "expired",
    "not_yet_valid",
    "bad_claims",
    "revoked",
)
"""Results of a check of a bearer token."""
KINDS = ("login", "session", "legacy")
"""Origins of accepted tokens."""

for _result in ("ok", "malformed", "unknown_key", "bad_mac"):
    _refresh_checks.labels(_result)
for _result in ("taken", "failed"):
    _key_reloads.labels(_result)
for _status in ("400", "408", "431"):
    _refused_requests.labels(_status)


class Tokens(Collector):
    """Counters of bearer tokens, as plain numbers like those of requests."""

    def __init__(self) -> None:
        self.refused = dict.fromkeys(RESULTS[1:], 0)
        self.accepted = dict.fromkeys(KINDS, 0)

    def collect(self) -> Iterator[Metric]:
        """Give the numbers to a scrape."""
        checked = CounterMetricFamily("token_verifications", "Bearer tokens that were checked.", labels=["result"])
        checked.add_metric(["ok"], sum(self.accepted.values()))
        for result, count in self.refused.items():
            checked.add_metric([result], count)
        yield checked
        accepted = CounterMetricFamily("tokens_accepted", "Bearer tokens that were accepted.", labels=["kind"])
        for kind, count in self.accepted.items():
            accepted.add_metric([kind], count)
        yield accepted


tokens = Tokens()
REGISTRY.register(tokens)


class _Durations:
    """How long the requests of one operation took."""

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(LATENCY_BUCKETS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.buckets[bisect_left(LATENCY_BUCKETS, seconds)] += 1
        self.total += seconds


class Requests(Collector):
    """Counters of requests, as plain numbers: the event loop alone writes them.

    The library's counters, which any thread may add to, would take a twentieth of the time of a request.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self._ended: dict[tuple[str, str, int], int] = {}
        self._durations: dict[tuple[str, str], _Durations] = {}

    def declare(self, method: str, route: str) -> None:
        """Make the series of an operation exist from the start, at zero."""
        for status in (200, 500, 503):  # an error that makes its own series is missing from that series' rate
            self._ended[method, route, status] = 0
        self._durations[method, route] = _Durations()

    def end(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request; its duration is observed when `method` and `route` were declared."""
        key = (method, route, status)
        self._ended[key] = self._ended.get(key, 0) + 1
        durations = self._durations.get((method, route))
        if durations is not None:
            durations.observe(seconds)

    def collect(self) -> Iterator[Metric]:
        """Give the numbers to a scrape."""
        yield GaugeMetricFamily("http_requests_in_flight", "Requests that are being answered.", value=self.in_flight)
        ended = CounterMetricFamily("http_requests", "Requests that ended.", labels=["method", "route", "status"])
        for (method, route, status), count in self._ended.copy().items():
            ended.add_metric([method, route, str(status)], count)
        yield ended
        took = HistogramMetricFamily(
            "http_request_duration_seconds",
            "From a request's headers to the end of its answer, contract operations only.",
            labels=["method", "route"],
        )
        for (method, route), durations in self._durations.copy().items():
            bounds = map(floatToGoString, (*LATENCY_BUCKETS, math.inf))
            buckets = list(zip(bounds, accumulate(durations.buckets), strict=True))
            took.add_metric([method, route], buckets, durations.total)
        yield took


requests = Requests()
REGISTRY.register(requests)


def token_refused(result: str) -> None:
    """Count a check of a bearer token; `result` is one of RESULTS other than ok."""
    tokens.refused[result] += 1


def token_accepted(kind: str) -> None:
    """Count a bearer token that was accepted; `kind` is one of KINDS."""
    tokens.accepted[kind] += 1


def refresh_token_checked(result: str) -> None:
    """Count a check of a refresh token."""
    _refresh_checks.labels(result).inc()


def keys_in_use(count: int) -> None:
    """Report how many secrets there are whose tokens are accepted."""
    _signing_keys.set(count)


def keys_reloaded(result: str) -> None:
    """Count a change of the files of secrets: `taken`, or a reading that `failed`."""
    _key_reloads.labels(result).inc()


def declare_throttled(routes: Iterable[str]) -> None:
    """Make the series of throttled routes exist from the start, at zero."""
    for route in routes:
        _client_throttled.labels(route)


def client_throttled(route: str) -> None:
    """Count a request that was one too many of its address."""
    _client_throttled.labels(route).inc()


def follow_revocations(age: Callable[[], float]) -> None:
    """Export the `age` of the known revocations, in seconds."""
    _revocations_age.set_function(age)


def follow_connections(count: Callable[[], int]) -> None:
    """Report how many clients are connected."""
    _connections.set_function(count)


def connection_refused() -> None:
    """Count a connection beyond the limit."""
    _refused_connections.inc()


def request_refused(status: int) -> None:
    """Count a request that is not HTTP, or exceeds a limit of the HTTP server."""
    _refused_requests.labels(str(status)).inc()


def follow_registry(service: str, age: Callable[[], float]) -> None:
    """Export the `age` of the snapshot of `service`, in seconds; NaN while there is none."""
    _endpoints.labels(service).set(0)
    _snapshot_age.set_function(age)


def endpoints_known(service: str, count: int) -> None:
    """Report how many instances of `service` are in use."""
    _endpoints.labels(service).set(count)


def users_reachable(reachable: bool) -> None:
    """Report whether a call could be sent to a user service now."""
    _users_reachable.set(reachable)


def endpoints_in_use(seconds: float) -> None:
    """Observe how long a change of instances took to be put to use."""
    _propagation.observe(seconds)
