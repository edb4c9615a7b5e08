"""The users, one row each."""

import logging
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy
from pymysql.constants import ER
from sqlalchemy import (
    Column,
    DateTime,
    Integer,
    Select,
    String,
    Table,
    and_,
    bindparam,
    case,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import IntegrityError
from sqlmodel import Field, SQLModel

from user_svc.database import Database
from user_svc.database_errors import DatabaseUnavailableError, code_name
from user_svc.passwords import cost_of
from user_svc.repeats import repeat

_Id = mysql.BIGINT(unsigned=True).with_variant(Integer(), "sqlite")
_Generation = Integer().with_variant(mysql.INTEGER(unsigned=True), "mysql", "mariadb")
_Moment = DateTime().with_variant(mysql.DATETIME(fsp=3), "mysql", "mariadb")

logger = logging.getLogger(__name__)


class User(SQLModel, table=True):
    """A row of `users`, which the Go system's programs may read and write as well. Moments are UTC."""

    __tablename__ = "users"

    id: int | None = Field(default=None, sa_column=Column(_Id, primary_key=True, autoincrement=True))
    username: str = Field(sa_column=Column(String(64), nullable=False, unique=True))
    """Case-insensitively unique, by the column's collation."""
    password: str = Field(sa_column=Column(String(255), nullable=False))
    """The bcrypt hash."""
    created_at: datetime | None = Field(default=None, sa_column=Column(_Moment))
    updated_at: datetime | None = Field(default=None, sa_column=Column(_Moment))
    deleted_at: datetime | None = Field(default=None, sa_column=Column(_Moment))
    """When set the row is as good as gone, though its name stays taken."""
    disabled_at: datetime | None = Field(default=None, sa_column=Column(_Moment))
    """When set the user cannot log in."""
    generation: int = Field(default=0, sa_column=Column(_Generation, nullable=False, server_default="0"))
    """Of the user's tokens: those of earlier ones are void."""
    generation_at: datetime | None = Field(default=None, sa_column=Column(_Moment))
    """When the generation last went up."""


@dataclass(frozen=True, slots=True)
class Account:
    """Columns of a user that a login needs."""

    id: int
    username: str
    """As it was registered."""
    password_hash: str = field(repr=False)
    generation: int
    """Of the user's tokens when the hash was read."""
    is_disabled: bool


class NameTakenError(Exception):
    """There is a user of this name, in whatever case."""


# Statements are built once: on these tables SQLAlchemy's Core runs at three times the rate of its ORM.
users: Table = SQLModel.metadata.tables["users"]
_FIND = select(
    users.c.id,
    users.c.username,
    users.c.password,
    users.c.generation,
    users.c.disabled_at.is_not(None).label("is_disabled"),
).where(users.c.username == bindparam("name"), users.c.deleted_at.is_(None))
_HOLDER = select(users.c.id, users.c.password).where(users.c.username == bindparam("name"))
_ADD = insert(users)
_REPLACE = (
    update(users)
    .where(users.c.id == bindparam("which"), users.c.password == bindparam("old"))
    .values(password=bindparam("new"), updated_at=bindparam("now"))
)
_PIECE = 10_000
"""Rows that one statement reads at most, so that it takes milliseconds in a table of any size."""
_is_hash = and_(users.c.deleted_at.is_(None), func.length(users.c.password) == 60)
_FORMATS = (
    select(users.c.id, case((_is_hash, func.substr(users.c.password, 1, 7))).label("format"))
    .where(users.c.id > bindparam("after"))
    .order_by(users.c.id)
    .limit(_PIECE)
    .subquery()
)
"""Prefix of the hashes of a piece, such as `$2b$14$`."""
_COSTS = select(func.max(_FORMATS.c.id).label("last"), _FORMATS.c.format).group_by(_FORMATS.c.format)


class Store:
    """Reads and writes users; each statement is a transaction of its own, on a connection of its own.

    Every method raises DatabaseUnavailableError when the database cannot be used. `patience` is the time in seconds
    within which a statement that the database rolled back is executed again.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, username: str, patience: float = 0.0) -> Account | None:
        """Return the user of this name, in whatever case."""
        row = repeat(lambda: self._first("find", _FIND, username), patience)
        # An adopted collation may also equate names that are not the same, such as Ángel and angel.
        if row is None or row.username.lower() != username.lower():
            return None
        return Account(row.id, row.username, row.password, row.generation, bool(row.is_disabled))

    def highest_cost(self) -> int | None:
        """Return the highest cost of the users' hashes, None when there is none; takes many statements."""
        costs: set[int] = set()
        after = 0
        while True:
            with self._database.connection("highest_cost", "SELECT users") as connection:
                found = connection.execute(_COSTS, {"after": after}).all()
            if not found:
                return max(costs, default=None)
            after = max(row.last for row in found)
            costs |= {cost for row in found if (cost := cost_of(f"{row.format}{'.' * 53}")) is not None}

    def is_taken(self, username: str, patience: float = 0.0) -> bool:
        """Tell whether a row holds this name, in whatever case."""
        return repeat(lambda: self._first("is_taken", _HOLDER, username), patience) is not None

    def add(self, username: str, password_hash: str, patience: float = 0.0) -> int:
        """Insert a user and return the id.

        The insert is executed again when its connection was lost as well, which leaves unknown whether it was
        committed: the unique index keeps it from happening twice, and the hash, which no other row has, tells a row of
        this call from someone else's.

        Raises:
            NameTakenError: when the name's unique index says so.
            IntegrityError: when another one does, which adoption refuses and someone added later.
        """
        now = datetime.now(UTC)
        row = {"username": username, "password": password_hash, "created_at": now, "updated_at": now}
        return repeat(lambda: self._insert(row), patience, on=DatabaseUnavailableError)

    def _insert(self, row: dict[str, object]) -> int:
        with self._database.connection("add", "INSERT users") as connection:
            try:
                key = connection.execute(_ADD, row).inserted_primary_key
            except IntegrityError as error:
                # on the same connection, since another node of a cluster may not have the row yet
                holder = (
                    connection.execute(_HOLDER, {"name": row["username"]}).first() if _is_duplicate(error) else None
                )
                if holder is None:
                    logger.error("the table users refuses a user whose name is free", extra={"cause": _key(error)})  # noqa: TRY400  # the text holds the row
                    raise
                if holder.password != row["password"]:
                    raise NameTakenError from None
                return int(holder.id)
        if key is None:
            raise sqlalchemy.exc.InvalidRequestError("the insert returned no id")
        return int(key[0])

    def _first(self, query: str, statement: Select[Any], username: str) -> Any:
        with self._database.connection(query, "SELECT users") as connection:
            return connection.execute(statement, {"name": username}).first()

    def replace_hash(self, account: Account, password_hash: str) -> None:
        """Change a user's hash unless it has changed meanwhile."""
        values = {"which": account.id, "old": account.password_hash, "new": password_hash, "now": datetime.now(UTC)}
        with self._database.connection("replace_hash", "UPDATE users") as connection:
            connection.execute(_REPLACE, values)


def _is_duplicate(error: IntegrityError) -> bool:
    if error.orig is None:
        return False
    return (
        error.orig.args[0] == ER.DUP_ENTRY or getattr(error.orig, "sqlite_errorname", "") == "SQLITE_CONSTRAINT_UNIQUE"
    )


def _key(error: IntegrityError) -> str:
    """Return the error and the key in a message of MySQL, without the stored value."""
    key = re.search(r"'([^']*)'\s*$", str(error.orig.args[-1])) if error.orig and error.orig.args else None
    return f"{code_name(error)} {key[1]}" if key and _is_duplicate(error) else code_name(error)
