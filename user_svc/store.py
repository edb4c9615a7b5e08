"""The users, one row each."""

import logging
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

import sqlalchemy
from pymysql.constants import ER
from sqlalchemy import Column, DateTime, Integer, String, Table, and_, bindparam, case, func, insert, select, update
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import IntegrityError
from sqlmodel import Field, SQLModel

from user_svc.database import Database, code_name
from user_svc.passwords import cost_of

_Id = mysql.BIGINT(unsigned=True).with_variant(Integer(), "sqlite")
_Moment = DateTime().with_variant(mysql.DATETIME(fsp=3), "mysql", "mariadb")

logger = logging.getLogger(__name__)


class User(SQLModel, table=True):
    """A row of `users`, which the Go system's programs may read and write as well. Moments are UTC."""

    __tablename__ = "users"

    id: int | None = Field(default=None, sa_column=Column(_Id, primary_key=True, autoincrement=True))
    username: str = Field(sa_column=Column(String(64), nullable=False, unique=True))
    """Unique whatever the case, by the column's collation."""
    password: str = Field(sa_column=Column(String(255), nullable=False))
    """The bcrypt hash."""
    created_at: datetime | None = Field(default=None, sa_column=Column(_Moment))
    updated_at: datetime | None = Field(default=None, sa_column=Column(_Moment))
    deleted_at: datetime | None = Field(default=None, sa_column=Column(_Moment))
    """When set the row is as good as gone, though its name stays taken."""


@dataclass(frozen=True, slots=True)
class Account:
    """What a login needs to know of a user."""

    id: int
    username: str
    """As it was registered."""
    password_hash: str = field(repr=False)


class NameTakenError(Exception):
    """There is a user of this name, in whatever case."""


# Statements are built once: on these tables SQLAlchemy's Core runs at three times the rate of its ORM.
_users: Table = SQLModel.metadata.tables["users"]
_FIND = select(_users.c.id, _users.c.username, _users.c.password).where(
    _users.c.username == bindparam("name"), _users.c.deleted_at.is_(None)
)
_TAKEN = select(_users.c.id).where(_users.c.username == bindparam("name"))
_ADD = insert(_users)
_REPLACE = (
    update(_users)
    .where(_users.c.id == bindparam("which"), _users.c.password == bindparam("old"))
    .values(password=bindparam("new"), updated_at=bindparam("now"))
)
_PIECE = 10_000
"""Rows that one statement reads at most, so that it takes milliseconds in a table of any size."""
_is_hash = and_(_users.c.deleted_at.is_(None), func.length(_users.c.password) == 60)
_FORMATS = (
    select(_users.c.id, case((_is_hash, func.substr(_users.c.password, 1, 7))).label("format"))
    .where(_users.c.id > bindparam("after"))
    .order_by(_users.c.id)
    .limit(_PIECE)
    .subquery()
)
"""What the hashes of a piece begin with, such as `$2b$14$`."""
_COSTS = select(func.max(_FORMATS.c.id).label("last"), _FORMATS.c.format).group_by(_FORMATS.c.format)


class Store:
    """Reads and writes users; each method takes one connection for one statement, unless it says otherwise.

    Every method raises DatabaseUnavailableError when the database cannot be used.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, username: str) -> Account | None:
        """Return the user of this name, in whatever case."""
        with self._database.connection("find", "SELECT users") as connection:
            row = connection.execute(_FIND, {"name": username}).first()
        return None if row is None else Account(row.id, row.username, row.password)

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

    def is_taken(self, username: str) -> bool:
        """Tell whether a row holds this name, in whatever case."""
        with self._database.connection("is_taken", "SELECT users") as connection:
            return connection.execute(_TAKEN, {"name": username}).first() is not None

    def add(self, username: str, password_hash: str) -> int:
        """Insert a user and return the id.

        Raises:
            NameTakenError: when the name's unique index says so.
            IntegrityError: when another one does, which adoption refuses and someone added later.
        """
        now = datetime.now(UTC)
        row = {"username": username, "password": password_hash, "created_at": now, "updated_at": now}
        try:
            with self._database.connection("add", "INSERT users") as connection:
                key = connection.execute(_ADD, row).inserted_primary_key
        except IntegrityError as error:
            if _is_duplicate(error) and self.is_taken(username):
                raise NameTakenError from None
            logger.error("the table users refuses a user whose name is free", extra={"cause": _key(error)})  # noqa: TRY400  # the text holds the row
            raise
        if key is None:
            raise sqlalchemy.exc.InvalidRequestError("the insert returned no id")
        return int(key[0])

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
    """Name the error and the key that a message of MySQL's ends with, without what was to be stored."""
    key = re.search(r"'([^']*)'\s*$", str(error.orig.args[-1])) if error.orig and error.orig.args else None
    return f"{code_name(error)} {key[1]}" if key and _is_duplicate(error) else code_name(error)
