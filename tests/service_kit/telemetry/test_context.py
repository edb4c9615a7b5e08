"""Trace ids: which ones are taken from a client, which are replaced."""

import re

import pytest

from service_kit.telemetry import context
from service_kit.telemetry.context import RequestContext

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize("value", ["a", "A.b_c-9", "x" * 64])
def test_a_clients_id_is_taken(value: str) -> None:
    assert context.extract(value, f"00-{TRACE}-{PARENT}-01").trace_id == value


@pytest.mark.parametrize("value", [None, "", "x" * 65, "a b", "a\n", "a\r\nSet-Cookie: x", "é", "a;b", "\x00"])
def test_any_other_is_replaced(value: str | None) -> None:
    made = context.resolve_trace_id(value)
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert made != context.resolve_trace_id(value)


def test_without_an_id_the_traceparents_is_taken() -> None:
    assert context.extract(None, f"00-{TRACE}-{PARENT}-01").trace_id == TRACE


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        (f"00-{TRACE}-{PARENT}-01", (TRACE, PARENT, 1)),
        (f"00-{TRACE}-{PARENT}-00", (TRACE, PARENT, 0)),
        (f"cc-{TRACE}-{PARENT}-ff-what-the-future-brings", (TRACE, PARENT, 255)),
        (None, None),
        ("", None),
        ("junk", None),
        (f"00-{TRACE}-{PARENT}-01-more", None),
        (f"00-{TRACE}-{PARENT}-01\n", None),
        (f"ff-{TRACE}-{PARENT}-01", None),
        (f"00-{'0' * 32}-{PARENT}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{PARENT}-01", None),
        (f"00-{TRACE[:-1]}-{PARENT}-01", None),
        (f"cc-{TRACE}-{PARENT}-01what", None),
    ],
)
def test_traceparent(value: str | None, parsed: tuple[str, str, int] | None) -> None:
    assert context.extract(None, value, "").parent == (None if parsed is None else (*parsed, ""))


def test_later_versions_additions_are_not_forwarded() -> None:
    parent = context.extract(None, f"cc-{TRACE}-{PARENT}-03-what-the-future-brings-\xe9").parent
    assert parent is not None
    assert parent.traceparent == f"00-{TRACE}-{PARENT}-03"


@pytest.mark.parametrize(("state", "kept"), [("a=1,b@c=2", "a=1,b@c=2"), ("a=\n", ""), ("a=é", ""), ("x" * 513, "")])
def test_valid_tracestate_is_forwarded(state: str, kept: str) -> None:
    parent = context.extract(None, f"00-{TRACE}-{PARENT}-01", state).parent
    assert parent is not None
    assert parent.tracestate == kept


@pytest.mark.parametrize(
    ("value", "valid"), [(TRACE, True), ("0" * 32, False), (TRACE.upper(), False), (TRACE[1:], False), ("t-1", False)]
)
def test_which_ids_are_trace_ids_of_the_standard(value: str, valid: bool) -> None:
    assert context.is_trace_id(value) is valid


def test_a_context_is_current_until_it_is_left() -> None:
    with RequestContext("outer") as outer:
        with RequestContext("inner"):
            assert context.current.get().trace_id == "inner"
        assert context.current.get() is outer
    assert context.current.get().trace_id == ""
