"""An OpenAPI 3.0 contract, compiled at startup into the table that requests are served from.

Connexion reads the contract: its specification, resolver and operations. What it would work out again for each request
is worked out here once. A contract that asks for more than this package does is refused, never half obeyed.
"""

from gateway_svc.contract.operation import Operation, compile_operations
from gateway_svc.contract.routes import Match, Routes

__all__ = ["Match", "Operation", "Routes", "compile_operations"]
