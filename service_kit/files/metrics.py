"""Metrics of mounted files; the label `file` is a path."""

from pathlib import Path

from prometheus_client import Counter, Gauge

_reloads = Counter(
    "file_reloads_total",
    "Reloads of mounted files by result; after a failure the previous contents are kept.",
    ["file", "result"],
)
_expiry = Gauge(
    "tls_certificate_expiry_seconds",
    "Expiry of the certificate in use, in seconds since the epoch; of several authorities the latest.",
    ["file"],
)


def declare(path: Path) -> None:
    """Make the series of a file exist from the start, at zero."""
    for result in ("taken", "failed"):
        _reloads.labels(path, result)


def taken(path: Path) -> None:
    """Count a file whose new contents are in use."""
    _reloads.labels(path, "taken").inc()


def failed(path: Path) -> None:
    """Count a reading of a file that cannot be used."""
    _reloads.labels(path, "failed").inc()


def expires(path: Path, timestamp: float) -> None:
    """Report when the certificate in `path` expires."""
    _expiry.labels(path).set(timestamp)
