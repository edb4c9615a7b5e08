"""The database's clock, the only one that sessions know: instances' own may differ."""

from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class now(FunctionElement[int]):  # noqa: N801  # written like a function of SQL
    """The moment at which the statement began, in milliseconds since the epoch."""

    type = BigInteger()
    inherit_cache = True


@compiles(now, "mysql", "mariadb")
def _mysql(_element: now, _compiler: Any, **_options: Any) -> str:
    return "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)"


@compiles(now, "sqlite")
def _sqlite(_element: now, _compiler: Any, **_options: Any) -> str:
    return "CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)"
