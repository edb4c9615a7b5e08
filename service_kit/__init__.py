"""What every service needs: registry, telemetry, settings, files, startup and shutdown."""

import os

# Before gRPC is imported: its core would write a line, which is not JSON, for each connection that fails in TLS.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
