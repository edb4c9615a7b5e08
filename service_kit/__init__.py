"""What any service here stands on: registry, telemetry, settings, and the start and stop of a process."""

import os

# Before gRPC is imported: its core would write a line, which is not JSON, for each connection that fails in TLS.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
