"""`python -m gateway_svc` serves."""

import asyncio
import socket
import sys

import uvloop

from gateway_svc.config import GatewaySettings
from gateway_svc.server import PortTakenError, Server
from service_kit.settings import exit_with, load_or_exit
from service_kit.telemetry import logs, metrics, spans


def main() -> int:
    """Serve until told to stop, and return the exit code: 1 when the environment, 2 when a setting is at fault."""
    settings = load_or_exit(GatewaySettings)
    logs.configure("gateway_svc", level=settings.log_level, style=settings.log_format)
    metrics.start()
    if settings.otel_variables is not None:
        try:
            spans.start(settings.otel_variables, service="gateway_svc", instance=socket.gethostname())
        except ValueError as error:
            exit_with([str(error)])
    try:
        server = Server(settings)
    except PortTakenError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201  # for the person who typed the command
        return 1
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
