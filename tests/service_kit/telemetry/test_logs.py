"""Log lines as the services write them: each case runs in a process of its own, as configure() owns the process."""

import json
import os
import re
import socket
import subprocess
import sys
import textwrap

import pytest

FORGED = 'a\nb\r{"level": "ERROR"}\x1b[31m\x9b\u2028\x85\udc80\x00'
"""Line breaks of each kind, a second record, terminal escape sequences, a lone surrogate and a NUL."""


def written(program: str, style: str, *, code: int = 0) -> list[str]:
    """Return the lines that `program` leaves on standard error, split at line feeds as log collectors do."""
    program = f"""
import logging, threading, warnings
from service_kit.telemetry import logs
from service_kit.telemetry.context import RequestContext, Span, current
logs.configure("user", style={style!r}, level="INFO", instance="10.0.0.1:8888")
logger = logging.getLogger("room")
FORGED = {FORGED!r}
{textwrap.dedent(program)}
"""
    env = {**os.environ, "TZ": "XYZ-5"}  # five hours from UTC
    ended = subprocess.run([sys.executable, "-c", program], env=env, stderr=subprocess.PIPE, check=False, timeout=30)
    assert ended.returncode == code, ended.stderr.decode()
    lines = ended.stderr.decode("utf-8").split("\n")
    assert lines.pop() == ""
    return lines


def record(program: str, *, code: int = 0) -> dict[str, object]:
    """Return the one JSON record that `program` writes."""
    (line,) = written(program, "json", code=code)
    assert line.isascii()
    fields = json.loads(line)
    assert isinstance(fields, dict)
    return fields


def test_a_record_has_exactly_these_fields() -> None:
    fields = record("logger.info('hello %s', 'there')")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(fields.pop("time")))
    assert fields == {
        "level": "INFO",
        "logger": "room",
        "message": "hello there",
        "trace_id": "",
        "service": "user",
        "instance": "10.0.0.1:8888",
    }


def test_time_is_utc_with_milliseconds() -> None:
    fields = record("""
        record = logger.makeRecord("room", logging.INFO, "", 0, "then", (), None)
        record.created = 1_000_000_000.0015
        logger.handle(record)
    """)
    assert fields["time"] == "2001-09-09T01:46:40.001Z"


def test_instance_defaults_to_the_host_name() -> None:
    fields = record("logs.configure('user', style='json'); logger.info('x')")
    assert fields["instance"] == socket.gethostname()


def test_extras_become_fields_of_their_own_type() -> None:
    fields = record("logger.info('done', extra={'route': '/api/login', 'code': 200, 'duration': 0.25})")
    assert (fields["route"], fields["code"], fields["duration"]) == ("/api/login", 200, 0.25)


def test_line_has_the_requests_trace_and_span() -> None:
    fields = record("""
        from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
        span = NonRecordingSpan(SpanContext(1, 0x00f067aa0ba902b7, is_remote=False, trace_flags=TraceFlags(1)))
        with RequestContext("t-1", span=Span(span)):
            logger.info("x")
    """)
    assert (fields["trace_id"], fields["span_id"]) == ("t-1", "00f067aa0ba902b7")


def test_threads_do_not_share_trace_ids() -> None:
    fields = record(
        "current.set(RequestContext('t-1')); t = threading.Thread(target=logger.info, args='x'); t.start(); t.join()"
    )
    assert fields["trace_id"] == ""


@pytest.mark.parametrize(
    ("statement", "field", "value"),
    [
        ("logger.info(FORGED)", "message", FORGED),
        ("logger.info('%s', FORGED)", "message", FORGED),
        ("logger.info('x', extra={'route': FORGED})", "route", FORGED),
        ("logger.info('x', extra={'route': {'deep': [FORGED]}})", "route", {"deep": [FORGED]}),
        ("logger.info('x', extra={'cause': ValueError(FORGED)})", "cause", f"ValueError: {FORGED}"),
        ("current.set(RequestContext(FORGED)); logger.info('x')", "trace_id", FORGED),
        ("warnings.warn_explicit(FORGED, UserWarning, 'f', 1)", "message", f"f:1: UserWarning: {FORGED}\n"),
    ],
)
def test_what_a_client_sends_forges_no_line(statement: str, field: str, value: object) -> None:
    assert record(statement)[field] == value
    (line,) = written(statement, "text")
    assert line.isprintable()


def test_an_exception_is_one_field() -> None:
    fields = record("""
        try:
            raise ValueError(FORGED)
        except ValueError:
            logger.exception("failed")
    """)
    exception = str(fields["exception"])
    assert exception.startswith("Traceback (most recent call last):")
    assert exception.endswith(f"ValueError: {FORGED}")
    assert "exc_info" not in fields


def test_exception_text_is_indented_and_escaped() -> None:
    lines = written(
        """
        try:
            raise ValueError(FORGED)
        except ValueError:
            logger.exception("failed")
        """,
        "text",
    )
    assert lines[0].endswith("failed")
    assert lines[1] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") and line.isprintable() for line in lines[1:])


def test_an_uncaught_exception_is_a_record() -> None:
    fields = record("raise ValueError(FORGED)", code=1)
    assert (fields["level"], fields["message"]) == ("CRITICAL", "uncaught exception")
    assert str(fields["exception"]).endswith(FORGED)


def test_uncaught_thread_exceptions_are_logged() -> None:
    fields = record(
        "def f(): raise ValueError(FORGED)\nt = threading.Thread(target=f, name='worker'); t.start(); t.join()"
    )
    assert (fields["level"], fields["thread_name"]) == ("CRITICAL", "worker")


def test_text_carries_the_extras() -> None:
    (line,) = written("current.set(RequestContext('t-1')); logger.warning('hello', extra={'code': 503})", "text")
    assert re.fullmatch(r"\d\d:\d\d:\d\d WARNING user hello code=503 trace_id=t-1", line)


def test_auto_is_json_off_a_terminal() -> None:
    (line,) = written("logger.info('x')", "auto")
    assert json.loads(line)["message"] == "x"


def test_below_the_level_nothing_is_written() -> None:
    assert written("logger.debug('x')", "json") == []


def test_no_level_hides_the_lifecycle() -> None:
    program = """
        logs.configure("user", style="json", level="ERROR")
        logging.getLogger(logs.LIFECYCLE).info("listening")
        logging.getLogger("room").warning("hidden")
    """
    assert [json.loads(line)["message"] for line in written(program, "json")] == ["listening"]
