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
_CYCLE = """
local requests, turn = {}, %d
init = function()
  for token in io.lines(%s) do
    requests[#requests + 1] = wrk.format(nil, nil, {["Authorization"] = "Bearer " .. token})
  end
end
request = function()
  turn = turn %% #requests + 1
  return requests[turn]
end
"""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent.

    `tokens` names a file of bearer tokens, one a line, that are sent in turn.
    """

    path: str
    body: object = None
    tokens: Path | None = None


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
    request: Request,
    folder: Path,
    *,
    seconds: int,
    connections: int = 32,
    pause_ms: int = 0,
    first_token: int = 0,
) -> Load:
    """Keep `connections` busy for `seconds`; each waits for `pause_ms` before a request.

    Raises:
        RuntimeError: when requests failed or were refused, since the rate of errors is no result.
    """
    lines = []
    if request.body is not None:
        lines += ['wrk.method = "POST"', f"wrk.body = {json.dumps(json.dumps(request.body))}"]
        lines.append('wrk.headers["Content-Type"] = "application/json"')
    if request.tokens is not None:
        lines.append(_CYCLE % (first_token, json.dumps(str(request.tokens))))
    if pause_ms:
        lines.append(f"delay = function() return {pause_ms} end")
    script = folder / "load.lua"
    script.write_text("\n".join(lines) + _SUMMARY)
    wrk = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout=10s", "-s", str(script), url + request.path]
    command = ["taskset", "-c", str(CLIENT_CORE), *wrk]
    output = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=True).stdout
    found = re.search(r"^RESULT (.*)$", output, re.MULTILINE)
    if not found:
        raise RuntimeError(f"wrk printed no result: {output}")
    load = Load(**json.loads(found[1]))
    if load.non_2xx or load.failed or not load.requests:
        raise RuntimeError(f"{url}{request.path}: {load}")
    return load
