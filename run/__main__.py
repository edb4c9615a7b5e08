"""`python -m run`, which `make run` calls."""

import signal
import sys


def main() -> int:
    """Run the platform and return the exit code."""
    # While the rest is imported there is nothing to stop yet: Ctrl-C ends the process, without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from run.platform import run

    return run()


if __name__ == "__main__":
    sys.exit(main())
