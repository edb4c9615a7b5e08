"""A process whose wall clock is wrong."""

from pathlib import Path

import pytest


def env(offset: str) -> dict[str, str]:
    """Return the variables of a process whose wall clock is ahead by `offset`, such as `+60s`."""
    found = [*Path("/usr/lib").glob("*/faketime/libfaketime.so.1")]
    if not found:
        pytest.skip("libfaketime is not installed; on Debian and Ubuntu: apt install faketime")
    # gRPC's own timers go by the monotonic clock, which is right on every machine
    return {"LD_PRELOAD": str(found[0]), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
