"""Mutual TLS of gRPC: credentials of both sides, and which clients a server accepts."""

import functools
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any

import grpc

from service_kit.files import Certificates, MountedFiles

logger = logging.getLogger(__name__)

_HEALTH = "/grpc.health.v1.Health/"
_LOGGED = 100
"""Refused certificates that get a log line each."""

_KINDS: dict[str, Callable[..., Any]] = {
    "unary_unary": grpc.unary_unary_rpc_method_handler,
    "unary_stream": grpc.unary_stream_rpc_method_handler,
    "stream_unary": grpc.stream_unary_rpc_method_handler,
    "stream_stream": grpc.stream_stream_rpc_method_handler,
}


def server_credentials(files: MountedFiles[Certificates]) -> grpc.ServerCredentials:
    """Demand a certificate of every client; new handshakes use the files as they are then."""
    used = files.value

    def renewed() -> Any:  # None, too, which the stubs leave out
        nonlocal used
        if files.value is used:
            return None
        used = files.value
        return _configuration(used)

    return grpc.dynamic_ssl_server_credentials(_configuration(used), renewed, require_client_authentication=True)


def channel_credentials(certificates: Certificates) -> grpc.ChannelCredentials:
    """Return what a client shows and trusts; a channel goes on with it for good."""
    return grpc.ssl_channel_credentials(
        certificates.authorities or None, certificates.key or None, certificates.certificate or None
    )


def open_channel(
    target: str, options: Sequence[tuple[str, str | int]], credentials: grpc.ChannelCredentials | None
) -> grpc.Channel:
    """Return a channel with `credentials`, unencrypted without."""
    if credentials is None:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, credentials, options)


def server_name_options(name: str) -> list[tuple[str, str]]:
    """Return the channel options under which a server must prove to be `name`, whatever its address."""
    return [("grpc.ssl_target_name_override", name), ("grpc.default_authority", name)]


def _configuration(certificates: Certificates) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(certificates.key, certificates.certificate)], certificates.authorities
    )


class ClientNames(grpc.ServerInterceptor):
    """Refuses the calls of clients whose certificate contains none of the names, with PERMISSION_DENIED.

    An authority signs for many purposes: a certificate of it alone, such as a database's, opens nothing. The names are
    DNS names of the subject alternative name.
    """

    def __init__(self, names: Collection[str], own: MountedFiles[Certificates]) -> None:
        """Take clients of one of `names`, and with a name of the server's `own` certificate for health checks only."""
        self._names = frozenset(name.lower() for name in names)
        self._own = own
        self._logged: set[tuple[str, ...]] = set()

    def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Check the client before the handler, of whatever kind, is called."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        is_health = handler_call_details.method.startswith(_HEALTH)
        for kind, make in _KINDS.items():
            behavior = getattr(handler, kind)
            if behavior is not None:
                return make(
                    self._checked(behavior, is_health=is_health),
                    request_deserializer=handler.request_deserializer,
                    response_serializer=handler.response_serializer,
                )
        return handler

    def _checked(self, behavior: Callable[..., Any], *, is_health: bool) -> Callable[..., Any]:
        @functools.wraps(behavior)  # gRPC finds a handler's options in its attributes
        def checked(request: Any, context: grpc.ServicerContext, *arguments: Any, **options: Any) -> Any:
            # The names of RFC 6125's kind alone, neither addresses nor the common name.
            found: Any = context.auth_context().get("peer_dns", ())
            names = tuple(name.decode(errors="replace").lower() for name in found)
            if self._names.isdisjoint(names) and not (is_health and not set(self._own.value.names).isdisjoint(names)):
                self._log(names)
                context.abort(grpc.StatusCode.PERMISSION_DENIED, "the client's certificate contains no accepted name")
            return behavior(request, context, *arguments, **options)

        return checked

    def _log(self, names: tuple[str, ...]) -> None:
        if names not in self._logged and len(self._logged) < _LOGGED:
            self._logged.add(names)
            logger.warning(
                "refused a client whose certificate contains none of GRPC_TLS_CLIENT_NAMES",
                extra={"names": list(names)},
            )
