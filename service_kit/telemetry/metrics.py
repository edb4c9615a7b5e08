"""The metrics conventions of both services."""

from prometheus_client import Gauge, disable_created_metrics

VERSION = "0.1.0"

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds; with +Inf ten buckets, the thresholds of the latency objectives among them."""

_build_info = Gauge("build_info", "The running version; always 1.", ["version"])


def start() -> None:
    """Set what is constant during the life of the process. Counters have no _created series."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    _build_info.labels(VERSION).set(1)
