"""Registers and resolves one instance until it is ended: `python -m tests.service_kit.registry.idle ENDPOINT TTL`."""

import signal
import sys

from service_kit.registry import EtcdConfig, Instance, Registrar, Resolver

if __name__ == "__main__":
    etcd = EtcdConfig((sys.argv[1],), timeout=1.0)
    registrar = Registrar(etcd, "user", Instance("10.0.0.1:8888"), ttl=int(sys.argv[2]))
    resolver = Resolver(etcd, "user", relist=1)
    registrar.start()
    resolver.start()
    signal.sigwait({signal.SIGTERM})
