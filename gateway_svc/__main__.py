"""`python -m gateway_svc` serves."""

import sys

from gateway_svc.config import GatewaySettings
from gateway_svc.server import Server
from service_kit import process


def main() -> int:
    """Serve until told to stop, and return the exit code."""
    return process.serve("gateway_svc", GatewaySettings, Server)


if __name__ == "__main__":
    sys.exit(main())
