"""Run the measurements named on the command line, or all of them, and print a table for each."""

import argparse
import signal
import sys

from bench.cases import connections, feed, flood, gateway, guesses, logins, propagation, scale, sessions, telemetry
from bench.processes import scratch
from bench.rates import UNIT, Extent
from bench.report import table, worst

CASES = {
    "gateway": gateway.measure,
    "telemetry": telemetry.measure,
    "logins": logins.measure,
    "sessions": sessions.measure,
    "flood": flood.measure,
    "guesses": guesses.measure,
    "connections": connections.measure,
    "propagation": propagation.measure,
    "scale": scale.measure,
    "feed": feed.measure,
}
NAMED_ONLY = ("scale", "feed")
"""What is measured only when it is named: each takes the whole machine for minutes."""
FULL, SHORT = Extent(rounds=9, seconds=2), Extent(rounds=1, seconds=1)


def main() -> int:
    """Return 1 when a goal is missed, so that a script can tell."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "case", nargs="*", help=f"of {', '.join(CASES)}; all of them but {', '.join(NAMED_ONLY)} when none is named"
    )
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="measure each N times and print the worst")
    parser.add_argument("--short", action="store_true", help="one short round, to see that all still runs; no goals")
    arguments = parser.parse_args()
    chosen = arguments.case or [case for case in CASES if case not in NAMED_ONLY]
    if unknown := set(chosen) - set(CASES):
        parser.error(f"there is no measurement {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what was started ends, too
    print(f"Ratios are of {UNIT}: medians of the rounds, one core for the server, one for its client.")
    print("On a core that is kept busy, as by /ping and /api/profile, that is requests per second.\n", flush=True)
    met = True
    for case in chosen:
        runs = []
        for _ in range(arguments.repeat):
            with scratch() as folder:
                runs.append(CASES[case](folder, SHORT if arguments.short else FULL))
            print(f"{case}\n{table(runs[-1])}\n", flush=True)
        if len(runs) > 1:
            print(f"{case}, the worst of {len(runs)} runs\n{table(worst(runs))}\n", flush=True)
        met = met and all(figure.met for figures in runs for figure in figures)
    return 0 if met or arguments.short else 1


if __name__ == "__main__":
    sys.exit(main())
