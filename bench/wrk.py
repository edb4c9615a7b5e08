"""HTTP load from wrk, on its own core, against loopback."""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.processes import CLIENT_CORE

_SUMMARY = """
done = function(summary, latency)
  io.write(string.format('\\nRESULT {"requests": %d, "seconds": %f, "non_2xx": %d, "failed": %d, "p99_ms": %f}\\n',
    summary.requests, summary.duration / 1e6, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(99) / 1e3))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What a run of wrk saw."""

    requests: int
    seconds: float
    non_2xx: int
    failed: int
    p99_ms: float


def run(
    url: str,
    folder: Path,
    *,
    seconds: int,
    connections: int = 32,
    method: str = "GET",
    body: object = None,
    headers: dict[str, str] | None = None,
) -> Load:
    """Keep `connections` busy for `seconds`.

    Raises:
        RuntimeError: when requests failed or were refused, since the rate of errors is no result.
    """
    script = folder / "load.lua"
    lines = [f"wrk.method = {json.dumps(method)}"]
    if body is not None:
        lines += [f"wrk.body = {json.dumps(json.dumps(body))}", 'wrk.headers["Content-Type"] = "application/json"']
    lines += [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in (headers or {}).items()]
    script.write_text("\n".join(lines) + _SUMMARY)
    command = [
        "taskset",
        "-c",
        str(CLIENT_CORE),
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "-s",
        str(script),
        url,
    ]
    output = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=True).stdout
    found = re.search(r"^RESULT (.*)$", output, re.MULTILINE)
    if not found:
        raise RuntimeError(f"wrk printed no result: {output}")
    load = Load(**json.loads(found[1]))
    if load.non_2xx or load.failed or not load.requests:
        raise RuntimeError(f"{method} {url}: {load}")
    return load
