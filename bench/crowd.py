"""Many registrars or resolvers in one process.

`python -m bench.crowd registrars ETCD FIRST COUNT`, `python -m bench.crowd resolvers ETCD FIRST COUNT EXPECTED`.

Each line on stdout is a JSON object. The process ends, and its registrars leave, when stdin is closed.
"""

import json
import sys
import threading
import time
from functools import partial

from service_kit.registry import EtcdConfig, Instance, Registrar, Resolver, Snapshot

SERVICE = "user"
MEASURED = "198.51.100."
"""What the addresses begin with whose appearance is timed."""


def address(number: int) -> str:
    """Return the address of the instance of this number."""
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}:8888"


class _Watcher:
    """What one resolver has seen."""

    def __init__(self, etcd: EtcdConfig, expected: int) -> None:
        self.complete = threading.Event()
        self.changes = 0
        self._expected = expected
        self._seen: set[str] = set()
        self.resolver = Resolver(etcd, SERVICE, on_change=self._changed)

    def _changed(self, snapshot: Snapshot) -> None:
        now = time.monotonic()
        self.changes += 1
        if len(snapshot.addresses) >= self._expected:
            self.complete.set()
        for new in {each for each in snapshot.addresses if each.startswith(MEASURED)} - self._seen:
            self._seen.add(new)
            _tell(address=new, at=now)


_lock = threading.Lock()


def _tell(**facts: object) -> None:
    with _lock:
        print(json.dumps(facts), flush=True)


def main() -> None:
    """Run them until stdin is closed."""
    kind, where, first, count, *expected = sys.argv[1:]
    etcd = EtcdConfig((where,))
    if kind == "registrars":
        numbers = range(int(first), int(first) + int(count))
        registrars = [Registrar(etcd, SERVICE, Instance(address(number))) for number in numbers]
        for registrar in registrars:
            registrar.start()
        _tell(ready=len(registrars))
        sys.stdin.read()
        stops = [threading.Thread(target=partial(registrar.stop, 10)) for registrar in registrars]
        for stop in stops:
            stop.start()
        for stop in stops:
            stop.join()
        return
    watchers = [_Watcher(etcd, int(expected[0])) for _ in range(int(count))]
    for watcher in watchers:
        watcher.resolver.start()
    for watcher in watchers:
        watcher.complete.wait(120)
    _tell(ready=len(watchers))
    for line in sys.stdin:
        if line.strip() == "changes":
            _tell(changes=[watcher.changes for watcher in watchers])
    for watcher in watchers:
        watcher.resolver.stop(1)


if __name__ == "__main__":
    main()
