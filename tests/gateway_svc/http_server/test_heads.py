"""What the head of a request may hold, how long it may take, and whom it must name."""

import socket
from collections import Counter
from datetime import datetime

import pytest

from tests.gateway_svc.conftest import StartGateway
from tests.gateway_svc.http_server.conftest import GET_PING, POST_LOGIN, Connect
from tests.support.platform import sample
from tests.support.process import Process
from tests.support.raw_http import RawClient
from tests.support.users_stub import UsersStub
from tests.support.wait import stays

START = b"GET /ping HTTP/1.1\r\nHost: x\r\n"
MAX_HEAD = 32 * 1024


def fields(count: int) -> bytes:
    return b"".join(b"X-%d: y\r\n" % number for number in range(count))


def head_of(size: int, start: bytes = START) -> bytes:
    """Return a head of `size` bytes, most of them in one field."""
    frame = start + b"X-A: " + b"\r\n\r\n"
    return start + b"X-A: " + b"y" * (size - len(frame)) + b"\r\n\r\n"


def assert_refused(client: RawClient, status: int) -> None:
    answer = client.answer()
    assert (answer.status, answer.headers["connection"]) == (status, "close")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert client.is_closed()


@pytest.mark.parametrize(
    "head",
    [
        START + fields(99) + b"\r\n",
        head_of(MAX_HEAD),
        head_of(MAX_HEAD, b"GET /ping?" + b"q" * 8000 + b" HTTP/1.1\r\nHost: x\r\n"),
    ],
    ids=["100 fields", "32 KiB", "a long query"],
)
def test_largest_head_is_answered_again_and_again(gateway: Process, connect: Connect, head: bytes) -> None:
    client = connect(gateway)
    for _ in range(3):
        assert client.ask(head).status == 200
    for piece in (head[:1], head[1:20_000], head[20_000:]):
        client.send(piece)
    assert client.answer().status == 200
    client.send(head + head)
    assert [client.answer().status, client.answer().status] == [200, 200]


@pytest.mark.parametrize(
    "head",
    [
        START + fields(100) + b"\r\n",
        START + fields(30_000) + b"\r\n",
        START + b"A:b\r\n" * 30_000 + b"\r\n",
        head_of(MAX_HEAD + 1),
        head_of(54 * 1024),
        b"GET /" + b"p" * MAX_HEAD + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        START + b"X-" + b"n" * MAX_HEAD + b": y\r\n\r\n",
        START + b"Cookie: c=d\r\n" * 101 + b"\r\n",
    ],
    ids=["101 fields", "30,000 fields", "one name", "32 KiB + 1", "54 KiB", "a path", "a name", "cookies"],
)
@pytest.mark.parametrize("before", ["nothing", "a request", "a request with a body", "a request in the same packet"])
def test_head_beyond_the_limits_is_refused(gateway: Process, connect: Connect, head: bytes, before: str) -> None:
    client = connect(gateway)
    if before == "a request":
        assert client.ask(GET_PING).status == 200
    if before == "a request in the same packet":
        head = GET_PING + head
    if before == "a request with a body":
        head = POST_LOGIN + b"Content-Length: 2\r\n\r\n{}" + head
    client.send(head)
    if before == "a request in the same packet":
        assert client.answer().status == 200
    if before == "a request with a body":
        assert client.answer().status == 400
    assert_refused(client, 431)


@pytest.mark.parametrize("piece", [b"X-A: y\r\n", b"y" * 100, b" " * 100])
def test_endless_head_is_refused_in_pieces(gateway: Process, connect: Connect, piece: bytes) -> None:
    client = connect(gateway)
    client.send(START + (b"" if piece.endswith(b"\n") else b"X-A: z"))
    for _ in range(MAX_HEAD // len(piece) + 1):
        client.send(piece)
    assert_refused(client, 431)


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"\r\n\r\n\r\n"])
def test_connection_without_a_request_is_closed(impatient: Process, connect: Connect, sent: bytes) -> None:
    client = connect(impatient)
    client.send(sent)
    assert client.is_closed()


@pytest.mark.parametrize("start", [b"G", b"GET /ping HTTP/1.1", START, START + b"X-A: ", START + b"X-A: y\r\n\r"])
@pytest.mark.parametrize("before", ["nothing", "a request", "a request with a body"])
def test_unfinished_head_is_refused_in_time(impatient: Process, connect: Connect, start: bytes, before: str) -> None:
    client = connect(impatient)
    if before == "a request":
        assert client.ask(GET_PING).status == 200
    if before == "a request with a body":
        assert client.ask(POST_LOGIN + b"Content-Length: 2\r\n\r\n{}").status == 400
    client.send(start)
    assert_refused(client, 408)


def test_head_in_drops_is_refused_in_time(impatient: Process, connect: Connect) -> None:
    client = connect(impatient)
    client.send(START)
    client.socket.settimeout(0.05)
    with pytest.raises(ConnectionError):  # noqa: PT012  # whichever drop comes after the connection was closed
        for _ in range(200):
            client.send(b"X-A: y\r\n" if _ < 20 else b"")
            try:
                if not client.socket.recv(4096):
                    raise ConnectionError
            except TimeoutError:
                continue


def test_blank_lines_do_not_extend_the_time(impatient: Process, connect: Connect) -> None:
    client = connect(impatient)
    assert client.ask(b"\r\n" + GET_PING).status == 200
    client.socket.settimeout(0.05)
    for _ in range(100):
        client.send(b"\r\n")
        try:
            assert client.socket.recv(1) == b""
            break
        except TimeoutError:
            continue
    else:
        raise AssertionError("still open after 5 s of blank lines")


def test_unfinished_head_waits_for_the_answer_before_it(impatient: Process, connect: Connect) -> None:
    client = connect(impatient)
    body = b'{"username":"nobody","password":"password123"}'
    client.send(POST_LOGIN + b"Content-Length: %d\r\n\r\n" % len(body) + body + START)
    assert client.answer().status == 401
    assert_refused(client, 408)


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"Host: x\r\nHost: x\r\n",
        b"Host: x\r\nhost: y\r\n",
        b"Host:\r\n",
        b"Host: \t\r\n",
        b"Host: x y\r\n",
        b"Host: x,y/z\r\n",
        b"Host: http://x\r\n",
        b"Host: user@x\r\n",
        b"Host: x:80:80\r\n",
        b"Host: x:http\r\n",
        b"Host: [::1\r\n",
        b"Host: ::1\r\n",
        b"Host: %zz\r\n",
        b"Host: \xc3\xa4\r\n",
        b"Host: :80\r\n",
    ],
)
@pytest.mark.parametrize("target", [b"/ping", b"http://x/ping"])
def test_request_without_exactly_one_valid_host(
    gateway: Process, connect: Connect, lines: bytes, target: bytes
) -> None:
    client = connect(gateway)
    client.send(b"GET %b HTTP/1.1\r\n%b\r\n" % (target, lines))
    assert_refused(client, 400)


@pytest.mark.parametrize(
    "host",
    [b"x", b"X.example.", b"x:8080", b"x:", b"127.0.0.1", b"[::1]", b"[fe80::1]:80", b"a_b-c~d", b"%C3%A4", b"x\t"],
)
def test_valid_hosts(gateway: Process, connect: Connect, host: bytes) -> None:
    assert connect(gateway).ask(b"GET /ping HTTP/1.1\r\nHost: %b\r\n\r\n" % host).status == 200


def test_http_1_0_needs_no_host(gateway: Process, connect: Connect) -> None:
    client = connect(gateway)
    assert client.ask(b"GET /ping HTTP/1.0\r\n\r\n").status == 200
    assert client.is_closed()
    client = connect(gateway)
    client.send(b"GET /ping HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n")
    assert_refused(client, 400)


def test_absolute_target_is_answered_like_its_path(gateway: Process, connect: Connect) -> None:
    client = connect(gateway)
    assert client.ask(b"GET http://elsewhere/ping HTTP/1.1\r\nHost: x\r\n\r\n").status == 200
    assert client.ask(b"GET http://elsewhere/nowhere HTTP/1.1\r\nHost: x\r\n\r\n").status == 404


@pytest.mark.parametrize(
    "request_",
    [
        b"BREW /ping HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n",
        b"GET /ping HTTP/1.1\nHost: x\n\n",
        b"GET /ping HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost : x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"nonsense\r\n",
        b"nonsense",
    ],
)
@pytest.mark.parametrize("before", [b"", GET_PING, GET_PING * 3])
def test_malformed_http_is_refused_behind_the_answers_before(
    gateway: Process, connect: Connect, request_: bytes, before: bytes
) -> None:
    client = connect(gateway)
    client.send(before + request_)
    for _ in range(before.count(GET_PING)):
        assert client.answer().status == 200
    answer = client.answer()
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert answer.body == b"Invalid HTTP request received."
    assert client.is_closed()


def test_refused_requests_are_counted_by_status(impatient: Process, connect: Connect) -> None:
    def counts() -> dict[str, float]:
        statuses = ("400", "408", "431")
        return {status: sample(impatient, "http_requests_refused_total", status=status) for status in statuses}

    before = counts()
    assert connect(impatient).ask(GET_PING).status == 200
    for request, status in (
        (b"nonsense\r\n", 400),
        (b"GET /ping HTTP/1.1\r\n\r\n", 400),
        (POST_LOGIN + b"Transfer-Encoding: chunked\r\n\r\nz\r\n", 400),
        (START, 408),
        (START + fields(100) + b"\r\n", 431),
    ):
        client = connect(impatient)
        client.send(request)
        assert_refused(client, status)
    assert counts() == {"400": before["400"] + 3, "408": before["408"] + 1, "431": before["431"] + 1}


def test_flood_of_refusals_writes_few_lines(start_gateway: StartGateway, users: UsersStub) -> None:
    gateway = start_gateway(USER_SERVICE_TARGET=users.target)
    sent = {400: 2000, 431: 1}
    for head, status in ((b"nonsense\r\n", 400), (START + fields(100) + b"\r\n", 431)):
        for _ in range(sent[status]):
            with RawClient(gateway.port) as client:
                assert client.ask(head).status == status
    for status, count in sent.items():
        assert sample(gateway, "http_requests_refused_total", status=str(status)) == count
    gateway.terminate()
    assert gateway.wait() == 0
    causes = {400: "Invalid HTTP request received.", 431: "Request head too large."}
    lines = [record for record in gateway.records if record["message"] == causes.get(record.get("status", 0))]
    took = datetime.fromisoformat(lines[-1]["time"]) - datetime.fromisoformat(lines[0]["time"])
    logged = Counter(record["status"] for record in lines)
    assert logged[400] <= 50 * (took.total_seconds() + 2)
    assert logged[431] == 1
    summaries = [record for record in gateway.records if record["message"] == "refusal lines suppressed"]
    assert {record["peer"] for record in lines} == {"127.0.0.1"}
    assert {record["level"] for record in [*lines, *summaries]} == {"WARNING"}
    assert len(summaries) <= took.total_seconds() + 2
    for record in summaries:
        logged[record["status"]] += record["count"]
    assert logged == sent


def test_many_pipelined_requests_are_answered_in_order(gateway: Process, connect: Connect) -> None:
    client = connect(gateway)
    count = 3000
    client.send(b"".join(b"GET /ping HTTP/1.1\r\nHost: x\r\nX-Trace-ID: %d\r\n\r\n" % n for n in range(count)))
    assert [client.answer().headers["x-trace-id"] for _ in range(count)] == [str(n) for n in range(count)]


def test_idle_connections_outlive_the_head_timeout(impatient: Process, connect: Connect) -> None:
    client = connect(impatient)
    assert client.ask(GET_PING).status == 200
    client.socket.setblocking(False)
    stays(lambda: not _readable(client), 1, what="the connection to be open")
    client.socket.settimeout(10)
    assert client.ask(GET_PING).status == 200
    assert client.is_closed()


def _readable(client: RawClient) -> bool:
    try:
        client.socket.recv(1)
    except BlockingIOError:
        return False
    return True


def test_head_may_be_split_anywhere(gateway: Process, connect: Connect) -> None:
    """The answer to the request before tells that the first part was read."""
    before = POST_LOGIN + b"Content-Length: 2\r\n\r\n{}"
    head = b"\r\nGET /ping HTTP/1.1\r\nHost: x\r\nX-Trace-ID: split\r\n\r\n"
    client = connect(gateway)
    for cut in range(len(head)):
        assert client.ask(before + head[:cut]).status == 400
        answer = client.ask(head[cut:])
        assert (answer.status, answer.headers["x-trace-id"]) == (200, "split")


def test_head_may_come_byte_by_byte(gateway: Process, connect: Connect) -> None:
    client = connect(gateway)
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(20):
        for number in GET_PING:
            client.send(bytes([number]))
        assert client.answer().status == 200
