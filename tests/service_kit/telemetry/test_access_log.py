"""The access log: the lines that logging would write, none lost, none broken, and none for a client to choose."""

import json
import os
import re
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.service_kit.telemetry.test_logs import FORGED


def program(source: str, *, style: str = "json") -> list[str]:
    """Return the command that runs `source` with lines configured."""
    begin = f"""
import asyncio, logging, resource, sys, threading, time
from service_kit.telemetry import logs
from service_kit.telemetry.access_log import AccessLog
from service_kit.telemetry.context import RequestContext, Span, current
logs.configure("edge", style={style!r}, instance="10.0.0.1:8080")
logger = logging.getLogger("access")
FORGED = {FORGED!r}
FIELDS = {{"method": "GET", "route": "/ping", "code": 200, "duration": 0.000123}}
"""
    return [sys.executable, "-c", begin + textwrap.dedent(source)]


def lines_of(source: str, *, style: str = "json") -> list[str]:
    ended = subprocess.run(program(source, style=style), stderr=subprocess.PIPE, check=True, timeout=60)
    *lines, rest = ended.stderr.decode().split("\n")
    assert rest == ""
    return lines


def records_of(source: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines_of(source)]


def test_a_line_is_the_one_that_logging_writes() -> None:
    lines = lines_of("""
        from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
        access = AccessLog("access", "request")
        span = NonRecordingSpan(SpanContext(1, 0x00f067aa0ba902b7, is_remote=False, trace_flags=TraceFlags(1)))
        for context in (RequestContext(""), RequestContext("t-1"), RequestContext("t-1", span=Span(span))):
            with context:
                for level in (logging.INFO, logging.ERROR):
                    access.log(FIELDS, level)
                    logger.log(level, "request", extra=FIELDS)
    """)
    lines = [re.sub(r'"time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"', '"time":""', line) for line in lines]
    assert len(lines) == 12
    assert lines[::2] == lines[1::2]
    assert list(json.loads(lines[-1])) == [
        *("time", "level", "logger", "message", "service", "instance"),
        *("method", "route", "code", "duration", "trace_id", "span_id"),
    ]


def test_any_field_is_json_on_one_line() -> None:
    values = [FORGED, "\udc80", "héllo", "\x7f\u2028", 2**70, float("nan"), [FORGED]]
    (*lines, failed) = lines_of(f"""
        access = AccessLog("access", "request")
        for value in {values[:5]!r} + [float("nan"), [FORGED], ValueError("x")]:
            access.log({{"route": value}})
    """)
    assert all(line.isascii() for line in lines)
    routes = [json.loads(line)["route"] for line in lines]
    assert routes[:5] == values[:5]
    assert routes[6] == values[6]
    assert json.loads(failed)["route"] == "x"


def test_lines_of_one_turn_are_written_together() -> None:
    ours, childs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    source = """
        async def main():
            access = AccessLog("access", "request", loop=asyncio.get_running_loop())
            for number in (1, 2, 3):
                access.log({"number": number})
            logger.info("between", extra={"number": 4})
            access.log({"number": 5})
            access.log({"number": 6})
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            access.log({"number": 7})
        asyncio.run(main())
    """
    with ours, childs:
        subprocess.run(program(source), stderr=childs.fileno(), check=True, timeout=60)
        childs.close()
        writes = iter(lambda: ours.recv(65536), b"")
        numbers = [[json.loads(line)["number"] for line in write.splitlines()] for write in writes]
    assert numbers == [[1, 2, 3, 4], [5, 6], [7]]


def test_no_write_is_longer_than_pipes_keep_together() -> None:
    ours, childs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    source = """
        async def main():
            access = AccessLog("access", "request", loop=asyncio.get_running_loop())
            for number in range(100):
                access.log({"number": number})
        asyncio.run(main())
    """
    with ours, childs:
        subprocess.run(program(source), stderr=childs.fileno(), check=True, timeout=60)
        childs.close()
        writes = list(iter(lambda: ours.recv(65536), b""))
    assert max(map(len, writes)) <= 4096
    assert len(writes) < 10
    assert [json.loads(line)["number"] for line in b"".join(writes).splitlines()] == list(range(100))


def test_pending_lines_are_written_at_exit() -> None:
    records = records_of("""
        access = AccessLog("access", "request", loop=asyncio.new_event_loop())
        access.log({"number": 1})
        access.log({"number": 2})
    """)
    assert [record["number"] for record in records] == [1, 2]


@pytest.mark.parametrize("blocking", [True, False])
def test_a_full_pipe_loses_no_line(blocking: bool) -> None:
    out, into = os.pipe()
    os.set_blocking(into, blocking)
    source = """
        access = AccessLog("access", "request")
        def write(thread):
            for number in range(1000):
                access.log({"number": (thread, number)})
        threads = [threading.Thread(target=write, args=[number]) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    """
    child = subprocess.Popen(program(source), stderr=into)
    os.close(into)
    with os.fdopen(out, "rb", buffering=0) as reader:
        first = reader.read(1)  # later readers read from a pipe that was full
        rest = b"".join(iter(lambda: reader.read(100), b""))
    assert child.wait(30) == 0
    numbers = [tuple(json.loads(line)["number"]) for line in (first + rest).splitlines()]
    assert len(numbers) == 4000
    for thread in range(4):
        assert [number for number in numbers if number[0] == thread] == [(thread, number) for number in range(1000)]


def test_a_reader_that_has_gone_ends_no_process() -> None:
    source = """
        access = AccessLog("access", "request")
        while sys.stdin.readline():
            access.log(FIELDS)
            logger.info("x")
            print("written", flush=True)
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(program(source), stdin=pipe, stdout=pipe, stderr=pipe, text=True) as child:
        assert child.stdin
        assert child.stdout
        assert child.stderr
        for gone in (False, True, True):
            if gone:
                child.stderr.close()
            child.stdin.write("\n")
            child.stdin.flush()
            assert child.stdout.readline() == "written\n"
        child.stdin.close()
        assert child.wait(30) == 0


def test_after_a_full_disk_lines_are_whole_again(tmp_path: Path) -> None:
    source = """
        access = AccessLog("access", "request")
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        for number in range(20):
            access.log({"number": number})
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        for number in range(20, 30):
            access.log({"number": number})
    """
    file = tmp_path / "log"
    with file.open("wb") as log:
        subprocess.run(program(source), stderr=log, check=True, timeout=60)
    whole, torn = [], 0
    for line in file.read_text().splitlines():
        try:
            whole.append(json.loads(line)["number"])
        except ValueError:
            torn += 1
    assert torn <= 1
    assert whole[-10:] == list(range(20, 30))


def test_trace_ids_do_not_decide_log_sampling() -> None:
    records = records_of("""
        access = AccessLog("access", "request", 0.25)
        for _ in range(2000):
            with RequestContext("t-1", log_random=access.draw()):
                access.log({})
    """)
    assert 400 < len(records) < 600


@pytest.mark.parametrize(("share", "count"), [(0, 0), (1, 100)])
def test_none_and_all(share: int, count: int) -> None:
    records = records_of(f"""
        access = AccessLog("access", "request", {share})
        for _ in range(100):
            with RequestContext("t-1", log_random=access.draw()):
                access.log({{}})
    """)
    assert len(records) == count


def test_a_service_follows_what_another_one_drew() -> None:
    records = records_of("""
        first, second = AccessLog("first", "request", 0.5), AccessLog("second", "call", 0.2)
        for number in range(1000):
            drawn = first.draw()
            with RequestContext(str(number), log_random=drawn):
                first.log({})
            with RequestContext(str(number), log_random=second.draw(f"{drawn:08x}")):
                second.log({})
    """)
    logged = [{record["trace_id"] for record in records if record["logger"] == name} for name in ("first", "second")]
    assert logged[1] < logged[0]
    assert 120 < len(logged[1]) < 280


@pytest.mark.parametrize("received", ["", "0", "zzzzzzzz", "-0000001", "0x000001", "000000001", "00000001\n"])
def test_a_malformed_number_is_replaced(received: str) -> None:
    records = records_of(f"""
        access = AccessLog("access", "request", 0.5)
        for _ in range(200):
            with RequestContext("t-1", log_random=access.draw({received!r})):
                access.log({{}})
    """)
    assert 50 < len(records) < 150


@pytest.mark.parametrize("share", [0, 1])
@pytest.mark.parametrize("ends", ["time.sleep(1.5); logger.info('last')", "pass"])
def test_lines_above_fifty_a_second_are_counted(share: int, ends: str) -> None:
    records = records_of(f"""
        access = AccessLog("access", "request", {share})
        for _ in range(80):
            access.log({{"code": 401}}, always=401)
            access.log({{"code": 503}}, logging.WARNING, always=503)
        access.log({{"code": 409}}, always=409)
        {ends}
    """)
    if ends != "pass":
        assert records.pop()["message"] == "last"
    codes = [record["code"] for record in records if record["message"] == "request"]
    assert [codes.count(code) for code in (401, 503, 409)] == [50, 50, 1]
    summaries = [record for record in records if record["message"] == "request lines suppressed"]
    assert {(record["status"], record["count"], record["level"]) for record in summaries} == {
        (401, 30, "WARNING"),
        (503, 30, "WARNING"),
    }
    assert len(records) == 103


def test_the_limit_holds_in_every_second() -> None:
    records = records_of("""
        access = AccessLog("access", "request", 0)
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            access.log({"at": time.monotonic()}, always=401)
            time.sleep(0.001)
    """)
    at = [record["at"] for record in records if "at" in record]
    assert len(at) > 50
    assert min(later - earlier for earlier, later in zip(at, at[50:], strict=False)) > 0.99


def test_text_goes_the_way_of_all_lines() -> None:
    (line,) = lines_of("AccessLog('access', 'request').log(FIELDS)", style="text")
    assert re.fullmatch(r"[\d:]{8} INFO    edge request method=GET route=/ping code=200 duration=0.000123", line)


def test_below_the_level_nothing_is_written_nor_counted() -> None:
    lines = lines_of("""
        logs.configure("edge", style="json", level="WARNING")
        access = AccessLog("access", "request")
        for _ in range(60):
            access.log({"code": 401}, always=401)
        access.log({"code": 503}, logging.WARNING)
    """)
    assert [json.loads(line)["code"] for line in lines] == [503]


def test_lines_have_their_own_threads_trace_id() -> None:
    records = records_of("""
        access = AccessLog("access", "call")
        barrier = threading.Barrier(8)
        def call(number):
            with RequestContext(f"t-{number}"):
                barrier.wait()
                access.log({"number": number})
        threads = [threading.Thread(target=call, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    """)
    assert sorted((record["trace_id"], record["number"]) for record in records) == [(f"t-{n}", n) for n in range(8)]
