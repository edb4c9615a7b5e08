"""Tokens that are refused before they expire, as the user services list them."""

from gateway_svc.revocations.feed import RevocationFeed
from gateway_svc.revocations.known import Revocations

__all__ = ["RevocationFeed", "Revocations"]
