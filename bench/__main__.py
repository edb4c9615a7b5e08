"""Run the measurements named on the command line, or all of them, and print a table for each."""

import argparse
import sys

from bench.cases import gateway_rates, logins, propagation, telemetry
from bench.processes import scratch
from bench.report import table

CASES = {
    "gateway": gateway_rates.measure,
    "telemetry": telemetry.measure,
    "logins": logins.measure,
    "propagation": propagation.measure,
}


def main() -> int:
    """Return 1 when a goal is missed, so that a script can tell."""
    arguments = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    arguments.add_argument("case", nargs="*", help=f"of {', '.join(CASES)}; all of them when none is named")
    chosen = arguments.parse_args().case or list(CASES)
    if unknown := set(chosen) - set(CASES):
        arguments.error(f"there is no measurement {', '.join(sorted(unknown))}")
    met = True
    for case in chosen:
        with scratch() as folder:
            figures = CASES[case](folder)
        print(table(figures), end="\n\n", flush=True)
        met = met and all(figure.met for figure in figures)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
