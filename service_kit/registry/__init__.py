"""Service registration and discovery on etcd. Knows nothing of the services that use it."""

from service_kit.registry.etcd import EtcdConfig
from service_kit.registry.instance import DEFAULT_PREFIX, Instance, key
from service_kit.registry.registrar import Registrar
from service_kit.registry.resolver import Resolver, Snapshot

__all__ = ["DEFAULT_PREFIX", "EtcdConfig", "Instance", "Registrar", "Resolver", "Snapshot", "key"]
