"""An OCI registry on this machine, which charts are pushed to and installed from."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.etcd import free_port
from tests.support.wait import wait_until


@contextmanager
def serve(program: str | Path, folder: Path) -> Iterator[str]:
    """Run the registry, with its data in the folder; yield where charts go."""
    port = free_port()
    config = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    file = folder / "registry.json"
    file.write_text(json.dumps(config))
    with subprocess.Popen([program, "serve", file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: _answers(port), 30, what="the registry")
            yield f"oci://127.0.0.1:{port}/charts"
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    command = ["curl", "--silent", "--fail", f"http://127.0.0.1:{port}/v2/"]
    return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0
