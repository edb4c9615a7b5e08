"""`python -m etcd_auth` checks every few seconds and restores what is missing, until SIGTERM."""

import sys

from etcd_auth.config import AuthSettings
from etcd_auth.loop import run
from service_kit import process
from service_kit.files import UnusableFileError
from service_kit.settings import exit_with


def main() -> int:
    """Run until SIGTERM or SIGINT, and return the exit code."""
    try:
        run(process.start("etcd_auth", AuthSettings), process.StopSignal())
    except UnusableFileError as error:
        exit_with([str(error)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
