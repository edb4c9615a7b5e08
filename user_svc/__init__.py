"""The user service: Register and Login over gRPC, registered in etcd under a lease."""
