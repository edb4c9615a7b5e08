"""Service registration and discovery on etcd. Knows nothing of the services that use it."""

from registry.etcd import EtcdConfig
from registry.instance import DEFAULT_PREFIX, Instance, key
from registry.registrar import Registrar
from registry.resolver import Resolver, Snapshot

__all__ = ["DEFAULT_PREFIX", "EtcdConfig", "Instance", "Registrar", "Resolver", "Snapshot", "key"]
