"""Rate limits per address: failed logins, registrations, bad refresh tokens."""

from gateway_svc.throttling.addresses import ClientAddresses, Network
from gateway_svc.throttling.throttle import Throttle

__all__ = ["ClientAddresses", "Network", "Throttle"]
