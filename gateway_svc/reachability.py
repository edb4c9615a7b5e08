"""Whether the channel to the user services has an instance that can be used, for people."""

import asyncio
import contextlib
import logging

import grpc
import grpc.aio

from gateway_svc import metrics

_CHECK = "/grpc.health.v1.Health/Check"
_CHECK_TIMEOUT = 1.0
"""Seconds."""
_PATIENCE = 1.0
"""Seconds that an outage lasts before it is logged: starting instances are registered before they serve."""

logger = logging.getLogger(__name__)


class Reachability:
    """Follows one channel: logs when it has no instance left and when it has one again, and shows it by a metric."""

    def __init__(self) -> None:
        self._reachable: bool | None = None
        self._following: asyncio.Task[None] | None = None

    def follow(self, channel: grpc.aio.Channel) -> None:
        """Follow `channel` in place of the one before."""
        self.stop()
        self._following = asyncio.create_task(self._follow(channel))

    def stop(self) -> None:
        """Follow none; to be called before the channel is closed."""
        if self._following is not None:
            self._following.cancel()

    async def _follow(self, channel: grpc.aio.Channel) -> None:
        while True:
            state = channel.get_state(try_to_connect=True)
            if state is grpc.ChannelConnectivity.READY:
                self._note(None)
            elif state is grpc.ChannelConnectivity.TRANSIENT_FAILURE and self._reachable is not False:
                if not await _recovers(channel):
                    self._note(await _cause(channel))
                continue
            await channel.wait_for_state_change(state)

    def _note(self, cause: str | None) -> None:
        reachable = cause is None
        if reachable == self._reachable:
            return
        metrics.users_reachable(reachable)
        if not reachable:
            logger.warning("no user service can be reached", extra={"cause": cause})
        elif self._reachable is not None:
            logger.info("a user service can be reached")
        self._reachable = reachable


async def _recovers(channel: grpc.aio.Channel) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
                await channel.wait_for_state_change(state)
            return True
    return False


async def _cause(channel: grpc.aio.Channel) -> str | None:
    """Return why a call cannot be sent, None when one is answered after all."""
    # gRPC says why only to those who call.
    check: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_CHECK)
    try:
        await check(b"", timeout=_CHECK_TIMEOUT)
    except grpc.aio.AioRpcError as error:
        return error.details() or error.code().name
    return None
