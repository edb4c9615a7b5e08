"""The user service as the gateway calls it: one channel over all instances, swapped when they change."""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, TypeVar

import grpc
import grpc.aio

from gateway_svc.reachability import Reachability
from gateway_svc.tokens import Device
from protos.user.v1 import user_pb2, user_pb2_grpc
from protos.user.v1.contract import REFUSAL, RETRY_AFTER, SERVICE, THROTTLED
from service_kit import grpc_tls
from service_kit.telemetry import tracing
from service_kit.telemetry.context import Span

logger = logging.getLogger(__name__)

KEEPALIVE = 4.0
"""Seconds without data after which a connection is pinged."""
KEEPALIVE_TIMEOUT = 2.0
"""Seconds that a ping may take; a connection whose peer is stopped or cut off is dropped after KEEPALIVE and this."""
REGISTER_DEADLINE = 5.0
"""Seconds; a deletion has as many."""
PASSWORD_CHANGE_DEADLINE = 20.0
"""Seconds, for two hashes in a queue in which a login has its turn within LOGIN_DEADLINE."""
LOGIN_DEADLINE = 8.0
"""Seconds, for all attempts together: KEEPALIVE + KEEPALIVE_TIMEOUT to notice that an instance is black-holed, and two
more for the answer of another one."""
SESSION_DEADLINE = 6.0
"""Seconds, for all attempts of a call about sessions. A refresh must end before the user service's grace period of 10 s
does, in which it may be repeated."""
FEED_DEADLINE = 5.0
"""Seconds."""

_REPEATABLE = ("OpenSession", "RefreshSession", "EndSession", "EndAllSessions", "ListSessions")
_SENT_ONCE = ("ChangePassword", "DeleteAccount")

_RETRIES = {"maxAttempts": 4, "initialBackoff": "0.05s", "maxBackoff": "0.5s", "backoffMultiplier": 2}
# https://github.com/grpc/grpc-proto/blob/master/grpc/service_config/service_config.proto
_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": SERVICE},
    "methodConfig": [
        {
            "name": [{"service": SERVICE, "method": "Login"}],
            "retryPolicy": {**_RETRIES, "retryableStatusCodes": ["UNAVAILABLE"]},
        },
        {
            "name": [{"service": SERVICE, "method": method} for method in _REPEATABLE],
            # UNIMPLEMENTED: another instance may be newer, as during a rollout.
            "retryPolicy": {**_RETRIES, "retryableStatusCodes": ["UNAVAILABLE", "UNIMPLEMENTED"]},
        },
        {
            "name": [{"service": SERVICE, "method": method} for method in _SENT_ONCE],
            "retryPolicy": {**_RETRIES, "retryableStatusCodes": ["UNIMPLEMENTED"]},
        },
    ],
    "retryThrottling": {"maxTokens": 400, "tokenRatio": 0.5},
}

# https://grpc.github.io/grpc/core/group__grpc__arg__keys.html
_OPTIONS: list[tuple[str, str | int]] = [
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.keepalive_time_ms", int(KEEPALIVE * 1000)),
    ("grpc.keepalive_timeout_ms", int(KEEPALIVE_TIMEOUT * 1000)),
    ("grpc.http2.ping_timeout_ms", int(KEEPALIVE_TIMEOUT * 1000)),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),  # also how long a connection attempt may take
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", 64 * 1024),
    ("grpc.enable_http_proxy", 0),  # instances are dialled by address, whatever the environment says of proxies
]

Q = TypeVar("Q")
R = TypeVar("R")


class Tls(NamedTuple):
    """Credentials of the instances, and the name they must have."""

    credentials: Callable[[], grpc.ChannelCredentials]
    """Returns the newest; a channel goes on with those that it was made with."""
    server_name: str
    """The DNS name that an instance's certificate must contain, whatever its address."""


class UsersUnavailableError(Exception):
    """No instance can be reached, none answered in time, or its database cannot be used."""


class UsersOutdatedError(UsersUnavailableError):
    """The instances that were asked are older than the method, as during a rollout."""


class UsersBusyError(Exception):
    """The instance has more passwords to hash than it can within the call's deadline."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after
        """Whole seconds after which the call would be taken."""


class UsersThrottledError(Exception):
    """Too many wrong passwords were given for the name, whether it exists or not."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after
        """Whole seconds after which the next password would be checked."""


class UsersFailedError(Exception):
    """The user service failed in a way that it does not foresee."""


class UsersClient:
    """Calls the user service. All methods belong to the event loop."""

    def __init__(self, tls: Tls | None = None) -> None:
        """With `tls`, require servers to authenticate."""
        self._tls = tls
        self._credentials = tls.credentials() if tls is not None else None
        self._wanted: str | None = None
        self._on_use: Callable[[], None] = _ignore
        self._channel: grpc.aio.Channel | None = None
        self._stub: user_pb2_grpc.UserServiceAsyncStub | None = None
        self._swap: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._reachability = Reachability()

    def use(self, target: str, on_use: Callable[[], None]) -> None:
        """Call `target`, any gRPC target, from as soon as an instance there is ready; until then the one before.

        `on_use` is called then, unless another target was named meanwhile.
        """
        if target == self._wanted:
            return
        self._wanted, self._on_use = target, on_use
        self._connect(target)

    def renew(self) -> None:
        """Call with the newest certificates from as soon as an instance accepts them; until then with those before."""
        if self._tls is not None:
            self._credentials = self._tls.credentials()
        if self._wanted is not None:
            self._connect(self._wanted)

    async def register(self, username: str, password: str) -> user_pb2.RegisterResponse:
        """Create a user. Sent once.

        Raises:
            UsersUnavailableError, UsersBusyError, UsersFailedError: when the user service does not answer.
        """
        request = user_pb2.RegisterRequest(username=username, password=password)
        with _span("Register") as span:
            call = self._usable().Register(request, timeout=REGISTER_DEADLINE, metadata=tracing.inject())
            return await _answer(call, span)

    async def login(self, username: str, password: str, device: Device | None = None) -> user_pb2.LoginResponse:
        """Check a password. Tried again on other instances when one is unavailable.

        Raises:
            UsersUnavailableError, UsersBusyError, UsersThrottledError, UsersFailedError: when the user service does not
                answer, the last one also when it answers for another name.
        """
        request = user_pb2.LoginRequest(username=username, password=password, device=_device(device))
        with _span("Login") as span:
            call = self._usable().Login(request, timeout=LOGIN_DEADLINE, metadata=tracing.inject())
            answer = await _answer(call, span)
        if answer.code == 200 and not _is_about(answer, username):
            logger.error("a login was answered for another user; is every registered instance one of ours?")
            raise UsersFailedError
        return answer

    async def change_password(
        self, user_id: int, current: str, new: str, session_id: bytes, device: Device | None
    ) -> user_pb2.ChangePasswordResponse:
        """Replace a password, and end all sessions but one. Sent once.

        Raises:
            UsersUnavailableError, UsersBusyError, UsersThrottledError, UsersFailedError: when the user service does not
                answer.
        """
        request = user_pb2.ChangePasswordRequest(
            user_id=user_id,
            current_password=current,
            new_password=new,
            session_id=session_id,
            device=_device(device),
        )
        return await self._ask("ChangePassword", lambda stub: stub.ChangePassword, request, PASSWORD_CHANGE_DEADLINE)

    async def delete_account(
        self, user_id: int, password: str, device: Device | None
    ) -> user_pb2.DeleteAccountResponse:
        """Delete a user. Sent once.

        Raises:
            UsersUnavailableError, UsersBusyError, UsersThrottledError, UsersFailedError: when the user service does not
                answer.
        """
        request = user_pb2.DeleteAccountRequest(user_id=user_id, password=password, device=_device(device))
        return await self._ask("DeleteAccount", lambda stub: stub.DeleteAccount, request, REGISTER_DEADLINE)

    async def open_session(
        self, session_id: bytes, user_id: int, generation: int, device: str
    ) -> user_pb2.OpenSessionResponse:
        """Open a session for a user whose password was just checked. Tried again like a login.

        Raises:
            UsersUnavailableError, UsersBusyError, UsersFailedError: when the user service does not answer, as for the
                other calls about sessions.
        """
        request = user_pb2.OpenSessionRequest(
            session_id=session_id, user_id=user_id, generation=generation, device=device
        )
        return await self._ask("OpenSession", lambda stub: stub.OpenSession, request)

    async def refresh_session(self, session_id: bytes, serial: int) -> user_pb2.RefreshSessionResponse:
        """Present a serial of a session. Tried again like a login: soon after the first time it changes nothing."""
        request = user_pb2.RefreshSessionRequest(session_id=session_id, serial=serial)
        return await self._ask("RefreshSession", lambda stub: stub.RefreshSession, request)

    async def end_session(self, session_id: bytes, user_id: int) -> user_pb2.EndSessionResponse:
        """End a session of a user; whose it is is not asked when `user_id` is 0. Tried again like a login."""
        request = user_pb2.EndSessionRequest(session_id=session_id, user_id=user_id)
        return await self._ask("EndSession", lambda stub: stub.EndSession, request)

    async def end_access_token(self, token_id: bytes, expires: int, user_id: int) -> user_pb2.EndSessionResponse:
        """Revoke an access token that belongs to no session. Tried again like a login."""
        token = user_pb2.EndSessionRequest.AccessToken(id=token_id, expires_at=expires)
        request = user_pb2.EndSessionRequest(access_token=token, user_id=user_id)
        return await self._ask("EndSession", lambda stub: stub.EndSession, request)

    async def end_all_sessions(self, user_id: int) -> user_pb2.EndAllSessionsResponse:
        """End all sessions and access tokens of a user. Tried again like a login."""
        request = user_pb2.EndAllSessionsRequest(user_id=user_id)
        return await self._ask("EndAllSessions", lambda stub: stub.EndAllSessions, request)

    async def list_sessions(self, user_id: int) -> user_pb2.ListSessionsResponse:
        """List a user's sessions. Tried again like a login."""
        request = user_pb2.ListSessionsRequest(user_id=user_id)
        return await self._ask("ListSessions", lambda stub: stub.ListSessions, request)

    async def list_revocations(self, after_at: int, after_id: int) -> user_pb2.ListRevocationsResponse:
        """Read a page of the feed of revocations. Sent once, and neither logged nor traced: it is sent every second.

        Raises:
            UsersUnavailableError, UsersFailedError: when the user service does not answer.
        """
        request = user_pb2.ListRevocationsRequest(after_at=after_at, after_id=after_id)
        try:
            return await self._usable().ListRevocations(request, timeout=FEED_DEADLINE)
        except grpc.aio.AioRpcError as error:
            raise _error_of(error, is_newer=True) from None

    async def close(self, grace: float = 0.0) -> None:
        """Let calls in flight finish for `grace` seconds and close the channels."""
        if self._swap is not None:
            self._swap.cancel()
        self._reachability.stop()
        if self._channel is not None:
            self._retire(self._channel, grace)
        if self._closing:
            await asyncio.wait(self._closing)

    async def _ask(
        self,
        name: str,
        method: "Callable[[user_pb2_grpc.UserServiceAsyncStub], grpc.aio.UnaryUnaryMultiCallable[Q, R]]",
        request: Q,
        deadline: float = SESSION_DEADLINE,
    ) -> R:
        """Call a method that older user services do not have."""
        with _span(name) as span:
            call = method(self._usable())(request, timeout=deadline, metadata=tracing.inject())
            return await _answer(call, span, is_newer=True)

    def _connect(self, target: str) -> None:
        if self._swap is not None:
            self._swap.cancel()
        options = _options(target, self._tls.server_name if self._tls is not None else None)
        if self._credentials is None:
            channel = grpc.aio.insecure_channel(target, options=options)
        else:
            channel = grpc.aio.secure_channel(target, self._credentials, options=options)
        if self._channel is None:
            self._take(channel)
        self._swap = asyncio.create_task(self._swap_to(channel))

    def _usable(self) -> "user_pb2_grpc.UserServiceAsyncStub":
        if self._stub is None:
            raise UsersUnavailableError
        return self._stub

    def _take(self, channel: grpc.aio.Channel) -> None:
        if channel is not self._channel:
            self._reachability.follow(channel)
        self._channel = channel
        self._stub = user_pb2_grpc.UserServiceStub(channel)

    def _retire(self, channel: grpc.aio.Channel, grace: float) -> None:
        closing = asyncio.create_task(channel.close(grace))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _swap_to(self, channel: grpc.aio.Channel) -> None:
        try:
            await channel.channel_ready()
        except asyncio.CancelledError:
            if channel is not self._channel:
                self._retire(channel, 0)
            raise
        before = self._channel
        self._take(channel)
        if before is not None and before is not channel:
            self._retire(before, PASSWORD_CHANGE_DEADLINE)  # the longest that a call may take
        on_use, self._on_use = self._on_use, _ignore  # certificates that are renewed later are no new instances
        on_use()


def _device(device: Device | None) -> user_pb2.Device | None:
    if device is None:
        return None
    return user_pb2.Device(user_id=device.user_id, generation=device.generation, id=device.nonce)


def _ignore() -> None:
    pass


def target_of(addresses: Sequence[str]) -> str:
    """Return the gRPC target for instances, each `ip:port`.

    A target is of one family. IPv4 addresses beside IPv6 ones are written as IPv4-mapped ones (RFC 4291, section
    2.5.5.2).
    """
    if not any(address.startswith("[") for address in addresses):
        return "ipv4:" + ",".join(addresses)
    return "ipv6:" + ",".join(address if address.startswith("[") else _mapped(address) for address in addresses)


def _mapped(address: str) -> str:
    ip, _, port = address.rpartition(":")
    return f"[::ffff:{ip}]:{port}"


def _options(target: str, server_name: str | None) -> list[tuple[str, str | int]]:
    if server_name is not None:
        return [*_OPTIONS, *grpc_tls.server_name_options(server_name)]
    if target.startswith(("ipv4:", "ipv6:")):
        # One name for all instances, not the list of addresses. It also is part of what makes connections shareable:
        # a new channel goes on with the connections that the old one has.
        return [*_OPTIONS, ("grpc.default_authority", SERVICE)]
    return _OPTIONS


def _is_about(answer: user_pb2.LoginResponse, username: str) -> bool:
    # The name is newer than the rest of the answer, and others that speak the contract may leave it out.
    return answer.user_id > 0 and answer.username.lower() in ("", username.lower())


def _span(method: str) -> AbstractContextManager[Span]:
    name = f"{SERVICE}/{method}"
    return tracing.start_as_current_span(name, tracing.Kind.CLIENT, {"rpc.system.name": "grpc", "rpc.method": name})


async def _answer(call: grpc.aio.UnaryUnaryCall[Any, R], span: Span, *, is_newer: bool = False) -> R:
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        span.set_attributes({tracing.RPC_STATUS: error.code().name})
        span.set_error(error.code().name)
        ours = _error_of(error, is_newer=is_newer)
        if not isinstance(ours, UsersThrottledError):  # which is an answer, and there are many during an attack
            level = logging.ERROR if isinstance(ours, UsersFailedError) else logging.WARNING
            logger.log(level, "the user service did not answer", extra=_fields_of(error))
        raise ours from None
    span.set_attributes({tracing.RPC_STATUS: grpc.StatusCode.OK.name})
    return answer


def _error_of(error: grpc.aio.AioRpcError, *, is_newer: bool) -> Exception:
    """Return our error; `is_newer`: older user services do not have the method."""
    match error.code():
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED | grpc.StatusCode.CANCELLED:
            return UsersUnavailableError(error.code().name)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            is_throttled = error.trailing_metadata().get(REFUSAL) == THROTTLED
            return (UsersThrottledError if is_throttled else UsersBusyError)(_retry_after(error))
        case grpc.StatusCode.UNIMPLEMENTED if is_newer:
            return UsersOutdatedError(error.code().name)
    return UsersFailedError(error.code().name)


def _fields_of(error: grpc.aio.AioRpcError) -> dict[str, str]:
    fields = {"code": error.code().name}
    if "last error" in (details := error.details() or ""):
        fields["cause"] = details  # what gRPC says of connections that fail; a failed handshake is told nowhere else
    return fields


def _retry_after(error: grpc.aio.AioRpcError) -> int:
    """Return the whole seconds after which the user service would take the call, 1 when it does not say."""
    said = str(error.trailing_metadata().get(RETRY_AFTER, ""))
    return int(said) if said.isascii() and said.isdigit() and len(said) < 4 else 1
