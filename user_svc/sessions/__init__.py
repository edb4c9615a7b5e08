"""Sessions: chains of refresh tokens, and revocations. Gateways make and check the tokens; no secret is here."""

from user_svc.sessions.service import SessionService
from user_svc.sessions.store import SessionStore

__all__ = ["SessionService", "SessionStore"]
