"""What the gateway counts; every label value is bounded."""

from collections.abc import Callable

from prometheus_client import Counter, Gauge, Histogram

from telemetry.metrics import LATENCY_BUCKETS

UNMATCHED = "unmatched"
"""The route of a request that matched none."""
OTHER = "other"
"""The method of a request that no operation of the contract answered, whatever it was."""

_in_flight = Gauge("http_requests_in_flight", "Requests that are being answered.")
_requests = Counter("http_requests_total", "Requests that ended.", ["method", "route", "status"])
_durations = Histogram(
    "http_request_duration_seconds",
    "From a request's headers to the end of its answer, contract operations only.",
    ["method", "route"],
    buckets=LATENCY_BUCKETS,
)
_verifications = Counter("token_verifications_total", "Bearer tokens that were checked.", ["result"])

_endpoints = Gauge("registry_endpoints", "Instances in use.", ["service"])
_snapshot_age = Gauge("registry_snapshot_age_seconds", "Since the registry last confirmed the instances.")
_propagation = Histogram(
    "registry_propagation_seconds",
    "From the registry's word that instances changed to their first possible use.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0),
)

RESULTS = ("ok", "missing", "not_bearer", "malformed", "bad_signature", "expired", "not_yet_valid", "bad_claims")
"""What a check of a bearer token can come to."""

# The children are kept: labels() takes a lock and builds a tuple of strings at each call.
_verification_children = {result: _verifications.labels(result) for result in RESULTS}
_request_children: dict[tuple[str, str, int], Counter] = {}
_duration_children: dict[tuple[str, str], Histogram] = {}


class InFlight:
    """The requests that are being answered; the event loop alone writes it, so that it needs no lock."""

    count = 0


in_flight = InFlight()
_in_flight.set_function(lambda: in_flight.count)


def token_verified(result: str) -> None:
    """Count a check of a bearer token; `result` is one of RESULTS."""
    _verification_children[result].inc()


def follow_registry(service: str, age: Callable[[], float]) -> None:
    """Report the `age` in seconds of what is known of `service`; NaN while nothing is."""
    _endpoints.labels(service).set(0)
    _snapshot_age.set_function(age)


def endpoints_known(service: str, count: int) -> None:
    """Report how many instances of `service` are in use."""
    _endpoints.labels(service).set(count)


def endpoints_in_use(seconds: float) -> None:
    """Observe how long a change of instances took to be put to use."""
    _propagation.observe(seconds)


def declare(method: str, route: str) -> None:
    """Make the series of an operation exist from the start, at zero."""
    for status in (200, 500, 503):  # an error that makes its own series is missing from that series' rate
        _request_children[method, route, status] = _requests.labels(method, route, status)
    _duration_children[method, route] = _durations.labels(method, route)


def request_ended(method: str, route: str, status: int, seconds: float) -> None:
    """Count a request; its duration is observed when `method` and `route` were declared."""
    counter = _request_children.get((method, route, status))
    if counter is None:
        counter = _request_children[method, route, status] = _requests.labels(method, route, status)
    counter.inc()
    duration = _duration_children.get((method, route))
    if duration is not None:
        duration.observe(seconds)
