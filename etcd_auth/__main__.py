"""`python -m etcd_auth` checks every few seconds and restores what is missing, until SIGTERM."""

import sys

from etcd_auth.config import AuthSettings
from etcd_auth.loop import run
from service_kit import process


def main() -> int:
    """Run until SIGTERM or SIGINT, and return the exit code."""
    run(process.start("etcd_auth", AuthSettings), process.StopSignal())
    return 0


if __name__ == "__main__":
    sys.exit(main())
