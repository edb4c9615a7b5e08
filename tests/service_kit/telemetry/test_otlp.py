"""What is decided before the SDK is asked is what it would decide."""

import contextlib
import gc
import itertools
import logging
import random
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, sampling
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from service_kit.telemetry import context, tracing
from service_kit.telemetry.context import Parent, RequestContext, extract
from tests.support.wait import wait_until

SDK_LOGGER = logging.getLogger("opentelemetry")
NAMES = ["always_on", "always_off", "traceidratio"]


@pytest.fixture(autouse=True)
def _stopped_afterwards(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = SDK_LOGGER.propagate, SDK_LOGGER.level
    monkeypatch.setattr(tracing, "_tracer", None)
    yield
    tracing.stop()
    SDK_LOGGER.propagate = before[0]
    SDK_LOGGER.setLevel(before[1])
    SDK_LOGGER.handlers.clear()


def start(monkeypatch: pytest.MonkeyPatch, sampler: str, rate: str) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", rate)
    tracing.start({}, service="test", instance="test")


def served(request: RequestContext) -> tuple[bool, str]:
    """Return whether the request's span is recorded, and the traceparent that a callee gets."""
    token = context.current.set(request)  # not left, as that would end the span and send it
    recorded = tracing.start_server_span("GET").is_recording
    metadata = dict(tracing.inject())
    context.current.reset(token)
    return recorded, metadata["traceparent"]


@pytest.mark.parametrize("rate", ["0", "0.1", "0.5", "0.9999999", "1"])
@pytest.mark.parametrize("name", [*NAMES, *(f"parentbased_{name}" for name in NAMES)])
def test_sampling_is_the_sdks(monkeypatch: pytest.MonkeyPatch, name: str, rate: str) -> None:
    start(monkeypatch, name, rate)
    sampler = sampling._get_from_env_or_default()
    chance = random.Random(f"{name} {rate}")
    ids = [f"{chance.getrandbits(128):032x}" for _ in range(200)]
    ids += [f"{1:016x}{low:016x}" for low in (0, 1, 2**63, 2**64 - 1)]
    for trace_id, flags in itertools.product(ids, [None, 0, 1]):
        number = int(trace_id, 16)
        if flags is None:
            parent, sdk_context = None, Context()
        else:
            parent = Parent(trace_id, "00f067aa0ba902b7", flags)
            remote = SpanContext(number, 1, is_remote=True, trace_flags=TraceFlags(flags))
            sdk_context = set_span_in_context(NonRecordingSpan(remote), Context())
        decision = sampler.should_sample(sdk_context, number, "GET").decision
        expected = decision is sampling.Decision.RECORD_AND_SAMPLE
        recorded, traceparent = served(RequestContext(trace_id, parent))
        assert recorded is expected, (trace_id, flags)
        assert traceparent.startswith(f"00-{trace_id}-")
        assert traceparent.endswith("-01" if expected else "-00")


def test_invalid_trace_ids_are_sampled_at_random(monkeypatch: pytest.MonkeyPatch) -> None:
    start(monkeypatch, "traceidratio", "0.5")
    found = [served(RequestContext("z" * 32)) for _ in range(200)]
    assert 50 < sum(recorded for recorded, _ in found) < 150
    assert all(traceparent.endswith("-01" if recorded else "-00") for recorded, traceparent in found)
    assert all(extract(None, traceparent).parent for _, traceparent in found)
    assert len({traceparent[3:35] for _, traceparent in found}) == 200


def test_forwarded_flags_keep_the_random_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    start(monkeypatch, "parentbased_always_on", "1")
    for flags in (2, 3):
        _, traceparent = served(RequestContext("t-1", Parent("ab" * 16, "00f067aa0ba902b7", flags)))
        assert traceparent.endswith(f"-0{flags}")


def test_span_keeps_its_first_error(monkeypatch: pytest.MonkeyPatch) -> None:
    start(monkeypatch, "always_on", "1")
    with RequestContext("t-1") as request:
        outer: Any = tracing.start_server_span("outer").sdk
        with contextlib.suppress(KeyError), tracing.start_as_current_span("inner") as span:
            assert context.current.get().span is span
            inner: Any = span.sdk
            raise KeyError("c4naryzq")
        span.set_error("late")
        with contextlib.suppress(KeyError), tracing.start_as_current_span("marked") as span:
            marked: Any = span.sdk
            span.set_error("UNAVAILABLE")
            raise KeyError
    assert outer.end_time > marked.end_time > inner.end_time
    request.span.end()
    assert marked.attributes == {"error.type": "UNAVAILABLE"}
    assert inner.parent == outer.get_span_context()
    assert (inner.attributes, inner.status.is_ok, inner.status.description) == ({"error.type": "KeyError"}, False, None)
    assert not inner.events
    assert (dict(outer.attributes), outer.status.is_unset) == ({}, True)


def test_spans_that_cannot_be_sent_are_freed(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    gc.disable()
    try:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
            start(monkeypatch, "always_on", "1")
            with RequestContext("t-1"):
                tracing.start_server_span("lost")
            wait_until(lambda: "spans cannot be sent" in caplog.text, 20)
            wait_until(
                lambda: "lost" not in [each.name for each in gc.get_objects() if isinstance(each, ReadableSpan)], 5
            )
    finally:
        gc.enable()
