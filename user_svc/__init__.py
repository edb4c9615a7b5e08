"""The user service: Register and Login over gRPC, registered in etcd under a lease."""

import os

# Before gRPC is imported: its core would write a line, which is not JSON, for each connection that fails in TLS.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
