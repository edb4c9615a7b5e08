"""The pause between two rounds of etcd's members."""

import random

import pytest

from service_kit.registry.supervisor import Backoff


def test_backoff_doubles_from_zero_up_to_its_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        bounds.append((low, high))
        return high

    monkeypatch.setattr(random, "uniform", uniform)
    backoff = Backoff()
    for _ in range(7):
        backoff.next()
    assert bounds == [(0, most) for most in (0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0)]
