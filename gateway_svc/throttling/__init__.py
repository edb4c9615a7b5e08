"""Bounds on what one address may try: failed logins, registrations, bad refresh tokens."""

from gateway_svc.throttling.addresses import ClientAddresses, Network
from gateway_svc.throttling.throttle import Mode, Throttle

__all__ = ["ClientAddresses", "Mode", "Network", "Throttle"]
