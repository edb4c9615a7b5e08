"""The etcd client: one connection to one member by the stubs of etcd3, with a deadline on every call."""

import enum
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import grpc

from service_kit.grpc_tls import open_channel
from service_kit.registry import etcd3_messages

etcd3_messages.install()

import etcd3  # noqa: E402  # importable only now
from etcd3 import etcdrpc  # noqa: E402

__all__ = ["Cause", "Client", "Entry", "EtcdConfig", "EtcdError", "Event", "Watch", "WatchAnswer", "etcdrpc"]

_CHANNEL_OPTIONS = {
    # Channels to one address share a connection, and its back-off, unless told not to: closing one would heal nothing.
    "grpc.use_local_subchannel_pool": 1,
    # etcd is a neighbour: a proxy that is set up for the way out of the network must not see this.
    "grpc.enable_http_proxy": 0,
    # These notice an etcd that hangs within 5 s. A ping more often than etcd's 5 s minimum would get GOAWAY.
    "grpc.keepalive_time_ms": 6000,
    "grpc.keepalive_timeout_ms": 3000,
    "grpc.http2.ping_timeout_ms": 3000,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.max_pings_without_data": 0,
    "grpc.max_reconnect_backoff_ms": 1000,
    # Junk that someone wrote under the prefix must not make the list unreadable.
    "grpc.max_receive_message_length": -1,
}

_REQUIRE_LEADER = ("hasleader", "true")
"""Ends a stream on a member that has lost its quorum, as in etcd's clientv3.WithRequireLeader."""


@dataclass(frozen=True, slots=True)
class EtcdConfig:
    """Addresses and credentials of etcd."""

    endpoints: tuple[str, ...]
    """The members, each `host:port`."""
    username: str | None = None
    password: str | Callable[[], str] | None = field(default=None, repr=False)
    """The password, or a function that returns it for each connection."""
    timeout: float = 2.0
    """Seconds that a call may take."""
    credentials: Callable[[], grpc.ChannelCredentials] | None = field(default=None, repr=False)
    """Those of TLS, asked for each connection; unencrypted without."""

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise ValueError("at least one etcd endpoint is needed")
        for endpoint in self.endpoints:
            host, _, port = endpoint.rpartition(":")
            if not host or not port.isdigit():
                raise ValueError("an etcd endpoint must be host:port")
        if (self.username is None) != (self.password is None):
            raise ValueError("an etcd user name and its password go together")


class Cause(enum.Enum):
    """Why etcd cannot be used, one case for each remedy."""

    UNREACHABLE = "etcd cannot be reached at ETCD_ADDRESS"
    CREDENTIALS = "etcd refuses ETCD_USERNAME with its ETCD_PASSWORD"
    NO_CREDENTIALS = "etcd demands authentication, and ETCD_USERNAME and ETCD_PASSWORD are not set"
    PERMISSION = "etcd denies ETCD_USERNAME what the registry needs under its prefix"
    TOKEN = "etcd demands a new token"  # noqa: S105
    STREAM = "etcd has ended a watch"
    OTHER = "etcd at ETCD_ADDRESS answers with an error"

    @property
    def routine(self) -> bool:
        """Whether it happens with all in order, and a new session is all that is needed."""
        return self in (Cause.TOKEN, Cause.STREAM)


class EtcdError(Exception):
    """A call to etcd failed. The text never holds a credential."""

    def __init__(self, cause: Cause, details: str, *, refused: bool = False) -> None:
        super().__init__(f"{cause.value}: {details}")
        self.cause = cause
        self.details = details
        self.refused = refused
        """Whether etcd refused the call, so that nothing was done; otherwise it may have been."""


class Entry(NamedTuple):
    """A key as etcd holds it; `lease` is 0 when it has none."""

    key: str
    value: bytes
    lease: int
    revision: int


class Event(NamedTuple):
    """A change of a key, made at `entry.revision`; a deleted key has an empty value and no lease."""

    entry: Entry
    deleted: bool


class WatchAnswer(NamedTuple):
    """A response of a watch. The first one confirms the watch and has no events."""

    events: tuple[Event, ...]
    received_at: float
    """By time.monotonic()."""


Sink = Callable[["Watch", WatchAnswer | EtcdError], None]


class Client:
    """A connection to one member of etcd, with a token when etcd requires one.

    Every method but close() raises EtcdError.
    """

    def __init__(self, config: EtcdConfig, endpoint: str) -> None:
        """Connect to `endpoint` and authenticate.

        Raises:
            EtcdError: when the credentials are refused or the member does not answer.
        """
        self.endpoint = endpoint
        self.auth_is_off = False
        """Whether there is no token because etcd has authentication turned off, though a user is configured."""
        self._timeout = config.timeout
        self._metadata: tuple[tuple[str, str], ...] = (_REQUIRE_LEADER,)
        credentials = config.credentials() if config.credentials is not None else None
        self._channel = open_channel(endpoint, list(_CHANNEL_OPTIONS.items()), credentials)
        self._kv, self._lease = etcdrpc.KVStub(self._channel), etcdrpc.LeaseStub(self._channel)
        try:
            if config.username is not None and config.password is not None:
                password = config.password if isinstance(config.password, str) else config.password()
                self._authenticate(config.username, password)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection; calls and watches under way end with an error."""
        self._channel.close()

    def list(self, prefix: str) -> tuple[list[Entry], int]:
        """List the keys under `prefix`, and the revision of the list."""
        end = etcd3.utils.increment_last_byte(prefix.encode())
        answer = self._call(self._kv.Range, etcdrpc.RangeRequest(key=prefix.encode(), range_end=end))
        return [_entry(kv) for kv in answer.kvs], answer.header.revision

    def get(self, key: str) -> tuple[Entry | None, int]:
        """Read `key`, and the revision of the read."""
        answer = self._call(self._kv.Range, etcdrpc.RangeRequest(key=key.encode()))
        return (_entry(answer.kvs[0]) if answer.kvs else None), answer.header.revision

    def put(self, key: str, value: bytes, lease: int, *, unchanged_since: int) -> int | None:
        """Write `key` under `lease` if its last change was at revision `unchanged_since`, 0 for no key.

        Returns the revision of the change, None when the key has changed meanwhile and nothing was written.
        """
        unchanged = etcdrpc.Compare(
            key=key.encode(),
            target=etcdrpc.Compare.MOD,
            result=etcdrpc.Compare.EQUAL,
            mod_revision=unchanged_since,
        )
        put = etcdrpc.PutRequest(key=key.encode(), value=value, lease=lease)
        request = etcdrpc.TxnRequest(compare=[unchanged], success=[etcdrpc.RequestOp(request_put=put)])
        answer = self._call(self._kv.Txn, request)
        return answer.header.revision if answer.succeeded else None

    def grant(self, lease: int, ttl: int) -> int:
        """Make a lease with an id of the caller's choice, and return the seconds that it lives."""
        return int(self._call(self._lease.LeaseGrant, etcdrpc.LeaseGrantRequest(ID=lease, TTL=ttl)).TTL)

    def keep_alive(self, lease: int) -> int:
        """Renew a lease, and return the seconds that it lives from now; 0 or less when there is no such lease."""
        requests = iter([etcdrpc.LeaseKeepAliveRequest(ID=lease)])
        return int(self._call(self._lease.LeaseKeepAlive, requests, read=_only).TTL)

    def revoke(self, lease: int) -> bool:
        """Revoke a lease with the keys under it; returns False when there is no such lease."""
        try:
            self._call(self._lease.LeaseRevoke, etcdrpc.LeaseRevokeRequest(ID=lease))
        except EtcdError as error:
            if "lease not found" in error.details:
                return False
            raise
        return True

    def watch(self, key: str, sink: Sink, *, start_revision: int, prefix: bool) -> "Watch":
        """Follow `key`, or all keys under it, from `start_revision` on; see Watch."""
        end = etcd3.utils.increment_last_byte(key.encode()) if prefix else None
        create = etcdrpc.WatchCreateRequest(key=key.encode(), range_end=end, start_revision=start_revision)
        return Watch(
            etcdrpc.WatchStub(self._channel), etcdrpc.WatchRequest(create_request=create), self._metadata, sink
        )

    def _authenticate(self, username: str, password: str) -> None:
        stub = etcdrpc.AuthStub(self._channel)
        try:
            answer = self._call(stub.Authenticate, etcdrpc.AuthenticateRequest(name=username, password=password))
        except EtcdError as error:
            if "authentication is not enabled" in error.details:
                self.auth_is_off = True
                return
            raise
        self._metadata = (*self._metadata, ("token", answer.token))

    def _call(
        self, method: Callable[..., Any], request: Any, read: Callable[[Any], Any] = lambda answer: answer
    ) -> Any:
        try:
            return read(method(request, timeout=self._timeout, metadata=self._metadata))
        except grpc.RpcError as broken:
            error = translated(broken)
            if error.cause is Cause.PERMISSION and len(self._metadata) == 1:
                # There is no token: the user is the common name of the certificate, or has none.
                error = EtcdError(Cause.NO_CREDENTIALS, error.details, refused=True)
            if error.cause is Cause.NO_CREDENTIALS and self.auth_is_off:
                error.cause = Cause.TOKEN  # authentication has been turned on since
            raise error from broken


class Watch:
    """A watch whose reader thread hands everything to `sink`, ending with exactly one EtcdError."""

    def __init__(self, stub: Any, request: Any, metadata: tuple[tuple[str, str], ...], sink: Sink) -> None:
        self._sink = sink
        self._ended = threading.Event()
        self._call = stub.Watch(self._requests(request), metadata=metadata)
        threading.Thread(target=self._read, name="etcd-watch", daemon=True).start()

    def _requests(self, request: Any) -> Iterator[Any]:
        yield request
        self._ended.wait()  # a stream whose requests have ended counts as half closed

    def _read(self) -> None:
        error = EtcdError(Cause.STREAM, "no more answers")
        try:
            for answer in self._call:
                if answer.canceled:
                    reason = answer.cancel_reason or f"compacted at {answer.compact_revision}"
                    error = EtcdError(_cause(reason), reason)
                    break
                events = tuple(Event(_entry(event.kv), event.type == event.DELETE) for event in answer.events)
                self._sink(self, WatchAnswer(events, time.monotonic()))
        except grpc.RpcError as broken:
            error = translated(broken)
        finally:
            self._ended.set()
            self._call.cancel()
            self._sink(self, error)


def _only(answers: Any) -> Any:
    try:
        return next(answers)
    except StopIteration:
        raise EtcdError(Cause.OTHER, "a stream without an answer") from None
    finally:
        answers.cancel()


def _entry(kv: Any) -> Entry:
    return Entry(kv.key.decode(errors="replace"), kv.value, kv.lease, kv.mod_revision)


_NO_ANSWER = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
_PERHAPS_DONE = (*_NO_ANSWER, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)

_CAUSES = {
    "user name is empty": Cause.NO_CREDENTIALS,
    "authentication failed": Cause.CREDENTIALS,
    "permission denied": Cause.PERMISSION,
    "invalid auth token": Cause.TOKEN,
    "revision of auth store is old": Cause.TOKEN,
    "compacted": Cause.STREAM,
}
"""By etcd's error message; several of these share a status code."""


def translated(error: grpc.RpcError) -> EtcdError:
    """Return the error of a failed call, with its cause."""
    code, details = error.code(), error.details() or error.code().name
    cause = Cause.UNREACHABLE if code in _NO_ANSWER else _cause(details)
    return EtcdError(cause, details, refused=code not in _PERHAPS_DONE)


def _cause(details: str) -> Cause:
    return next((cause for text, cause in _CAUSES.items() if text in details), Cause.OTHER)
