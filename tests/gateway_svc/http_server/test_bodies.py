"""Bodies: their framing, their trailers, and what is left of them when the answer is out."""

import socket
import time

import pytest

from tests.gateway_svc.http_server.conftest import GET_PING, POST_LOGIN, Connect
from tests.support.process import Process
from tests.support.raw_http import RawClient

BODY = b'{"username":"nobody","password":"password123"}'
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
GET_CHUNKED = b"GET /ping HTTP/1.1\r\nHost: x\r\n" + CHUNKED


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_chunks_of_any_size_make_the_body(impatient: Process, connect: Connect, size: int) -> None:
    client = connect(impatient)
    body = b"".join(chunk(BODY[start : start + size]) for start in range(0, len(BODY), size))
    for _ in range(2):
        client.send(POST_LOGIN + CHUNKED)
        assert client.ask(body + b"0\r\n\r\n").status == 401
    spaces = b"".join(chunk(b" ") for _ in range(20_000))
    assert client.ask(POST_LOGIN + CHUNKED + body + spaces + b"0\r\n\r\n").status == 401


def test_blank_lines_in_bodies_are_data(gateway: Process, connect: Connect) -> None:
    client = connect(gateway)
    body = b"\r\n\r\n" * 4000 + BODY + b"\r\n\r\n" * 4000
    for framed in (b"Content-Length: %d\r\n\r\n" % len(body) + body, CHUNKED + chunk(body) + b"0\r\n\r\n"):
        assert client.ask(POST_LOGIN + framed + GET_PING).status == 401
        assert client.answer().status == 200


@pytest.mark.parametrize(
    "trailer",
    [
        b"X-Trace-ID: from-a-trailer\r\n",
        b"Authorization: Bearer x\r\n",
        b"Host: y\r\n",
        b"Upgrade: h2c\r\n",
        b"a:b\r\n" * 1000,
        b"a: " + b"y" * 8000 + b"\r\n",
    ],
)
def test_trailers_are_dropped(gateway: Process, connect: Connect, trailer: bytes) -> None:
    client = connect(gateway)
    answer = client.ask(POST_LOGIN + CHUNKED + chunk(BODY) + b"0\r\n" + trailer + b"\r\n")
    assert answer.status == 401
    assert answer.headers["x-trace-id"] != "from-a-trailer"
    assert client.ask(GET_PING).status == 200


@pytest.mark.parametrize(
    "endless",
    [b"0\r\n" + b"a:b\r\n" * 800_000, b"0\r\na: " + b"y" * 4_000_000, b"5;" + b"e" * 4_000_000],
    ids=["trailers", "a trailer", "a chunk extension"],
)
@pytest.mark.parametrize("start", [GET_CHUNKED, POST_LOGIN + CHUNKED + chunk(BODY)], ids=["no body", "a body"])
def test_trailers_beyond_the_limit_end_the_connection(
    gateway: Process, connect: Connect, start: bytes, endless: bytes
) -> None:
    client = connect(gateway)
    client.send(start)
    if start is GET_CHUNKED:
        assert client.answer().status == 200
    with pytest.raises(ConnectionError):  # noqa: PT012  # whichever piece it is that is not taken
        client.send(endless)
        client.send(endless)
        raise AssertionError("all of it was taken")


def test_refused_trailers_are_answered(gateway: Process, connect: Connect) -> None:
    client = connect(gateway)
    answer = client.ask(POST_LOGIN + CHUNKED + chunk(BODY) + b"0\r\n" + b"a:b\r\n" * 5000)
    assert (answer.status, answer.headers["connection"]) == (431, "close")
    assert client.is_closed()


@pytest.mark.parametrize(
    "framed",
    [
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"Content-Length: 2, 2\r\n\r\n{}",
        b"Content-Length: +2\r\n\r\n{}",
        b"Content-Length: -2\r\n\r\n{}",
        b"Content-Length: 0x2\r\n\r\n{}",
        b"Content-Length: 99999999999999999999999\r\n\r\n{}",
        b"Transfer-Encoding: gzip\r\n\r\n{}",
        b"Transfer-Encoding: chunked, gzip\r\n\r\n{}",
        b"Transfer-Encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        CHUNKED + b"zz\r\n",
        CHUNKED + b"-1\r\n",
        CHUNKED + b"0x2\r\n{}\r\n",
        CHUNKED + b"\r\n",
        CHUNKED + b"2\r\n{}x",
        CHUNKED + b"2\n{}\n0\n\n",
        CHUNKED + b"ffffffffffffffffff\r\n",
        CHUNKED + b"2\r\n{}\r\n0\r\nno trailer\r\n\r\n",
        CHUNKED + b"2\r\n{}\r\n0\r\nConnection: close\r\n\r\n",
        CHUNKED + b"2\r\n{}\r\n0\r\nContent-Length: 2\r\n\r\n",
        CHUNKED + b"2\r\n{}\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
@pytest.mark.parametrize("before", [b"", GET_PING])
def test_ambiguous_framing_is_refused(gateway: Process, connect: Connect, framed: bytes, before: bytes) -> None:
    client = connect(gateway)
    client.send(before + POST_LOGIN + framed)
    if before:
        assert client.answer().status == 200
    answer = client.answer()
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert client.is_closed()


def test_answer_before_the_body_reads_the_rest(gateway: Process, connect: Connect) -> None:
    client = connect(gateway)
    for _ in range(3):
        assert client.ask(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n").status == 404
        client.send(b"z" * 60_000)
        assert client.ask(GET_PING).status == 200


@pytest.mark.parametrize("framing", [b"Content-Length: 1000\r\n\r\n", CHUNKED])
@pytest.mark.parametrize("connection", [b"", b"Connection: close\r\n"])
def test_answer_before_a_body_that_does_not_come(
    gateway: Process, connect: Connect, framing: bytes, connection: bytes
) -> None:
    client = connect(gateway)
    assert client.ask(b"POST /nowhere HTTP/1.1\r\nHost: x\r\n" + connection + framing).status == 404
    client.socket.settimeout(3)
    assert client.is_closed()


@pytest.mark.parametrize(
    ("start", "status"),
    [
        (b"POST /nowhere HTTP/1.1\r\nHost: x\r\n", 404),
        (b"POST /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", 404),
        (POST_LOGIN, 413),
        (b"POST /api/login HTTP/1.1\r\n", 400),
    ],
)
def test_client_that_sends_first_sees_the_answer(gateway: Process, connect: Connect, start: bytes, status: int) -> None:
    body = b"z" * 900_000
    client = connect(gateway)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
    client.send(start + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert client.answer().status == status


@pytest.mark.parametrize("connection", [b"", b"Connection: close\r\n"])
def test_endless_body_after_the_answer_ends_the_connection(
    gateway: Process, connect: Connect, connection: bytes
) -> None:
    client = connect(gateway)
    assert client.ask(b"POST /nowhere HTTP/1.1\r\nHost: x\r\n" + connection + CHUNKED).status == 404
    assert_not_taken_for_long(client, chunk(b"z" * 100))


def test_endless_data_after_a_refusal_ends_the_connection(gateway: Process, connect: Connect) -> None:
    client = connect(gateway)
    assert client.ask(b"nonsense\r\n\r\n").status == 400
    assert_not_taken_for_long(client, b"z" * 100)


def assert_not_taken_for_long(client: RawClient, piece: bytes) -> None:
    deadline = time.monotonic() + 5
    with pytest.raises(ConnectionError):  # noqa: PT012  # whichever piece it is that is not taken
        while time.monotonic() < deadline:
            client.send(piece)
        raise AssertionError("still open")


def test_connection_survives_a_discarded_body(impatient: Process, connect: Connect) -> None:
    """As long as any idle connection, which is longer than the head of the next request may take."""
    client = connect(impatient)
    assert client.ask(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n").status == 404
    client.send(b"{}")
    client.socket.settimeout(1)
    with pytest.raises(TimeoutError):
        client.socket.recv(1)
    client.socket.settimeout(10)
    assert client.ask(GET_PING).status == 200
    assert client.is_closed()
