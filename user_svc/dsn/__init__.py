"""DB_DSN: a SQLAlchemy URL, or the form that Go's MySQL driver reads."""

from user_svc.dsn.errors import InvalidDSNError
from user_svc.dsn.forms import parse
from user_svc.dsn.parameters import TIMEOUT
from user_svc.dsn.source import Source, sqlite

__all__ = ["TIMEOUT", "InvalidDSNError", "Source", "parse", "sqlite"]
