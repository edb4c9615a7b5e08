"""Sampling without the SDK's samplers comes to what they say."""

import itertools
import logging
import random
from collections.abc import Iterator

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import sampling
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from service_kit.telemetry import otlp, trace

SDK_LOGGER = logging.getLogger("opentelemetry")
NAMES = ["always_on", "always_off", "traceidratio"]


@pytest.fixture(autouse=True)
def _leaves_no_trace() -> Iterator[None]:
    before = SDK_LOGGER.propagate, SDK_LOGGER.level
    yield
    SDK_LOGGER.propagate = before[0]
    SDK_LOGGER.setLevel(before[1])
    SDK_LOGGER.handlers.clear()
    trace.current.set("")


@pytest.mark.parametrize("rate", ["0", "0.1", "0.5", "0.9999999", "1"])
@pytest.mark.parametrize("name", [*NAMES, *(f"parentbased_{name}" for name in NAMES)])
def test_sampling_is_the_sdks(monkeypatch: pytest.MonkeyPatch, name: str, rate: str) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", name)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", rate)
    sampler = sampling._get_from_env_or_default()
    tracer = otlp.Tracer({}, service="test", instance="test")
    chance = random.Random(f"{name} {rate}")
    ids = [f"{chance.getrandbits(128):032x}" for _ in range(200)]
    ids += [f"{1:016x}{low:016x}" for low in (0, 1, 2**63, 2**64 - 1)]
    for trace_id, flags in itertools.product(ids, [None, 0, 1]):
        number = int(trace_id, 16)
        if flags is None:
            caller, context = None, Context()
        else:
            caller = trace.Parent(trace_id, "00f067aa0ba902b7", flags, "")
            remote = SpanContext(number, 1, is_remote=True, trace_flags=TraceFlags(flags))
            context = set_span_in_context(NonRecordingSpan(remote), Context())
        trace.current.set(trace_id)
        expected = sampler.should_sample(context, number, "GET").decision is sampling.Decision.RECORD_AND_SAMPLE
        span = tracer.serve("GET", caller)
        assert span.sampled is expected, (trace_id, flags)
        assert span.traceparent.startswith(f"00-{trace_id}-")
        assert span.traceparent.endswith("-01" if expected else "-00")
    tracer.stop(1)


def test_an_id_that_no_trace_can_have_is_sampled_by_a_random_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    tracer = otlp.Tracer({}, service="test", instance="test")
    trace.current.set("z" * 32)
    found = [tracer.serve("GET", None) for _ in range(200)]
    assert 50 < sum(span.sampled for span in found) < 150
    assert all(trace.parse(span.traceparent) for span in found)
    tracer.stop(1)
