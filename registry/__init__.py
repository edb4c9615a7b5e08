"""Service registration and discovery on etcd. Knows nothing of the services that use it."""
