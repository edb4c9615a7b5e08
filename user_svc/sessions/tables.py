"""The tables of sessions. Moments are in milliseconds since the epoch, by the database's clock."""

from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, String, Table
from sqlalchemy.dialects import mysql
from sqlmodel import Field, SQLModel

_Id = mysql.BIGINT(unsigned=True).with_variant(Integer(), "sqlite")
_Number = Integer().with_variant(mysql.INTEGER(unsigned=True), "mysql", "mariadb")
_Label = LargeBinary(256).with_variant(mysql.VARBINARY(256), "mysql", "mariadb")
_Random = LargeBinary(16).with_variant(mysql.BINARY(16), "mysql", "mariadb")


class SessionRow(SQLModel, table=True):
    """A chain of refresh tokens."""

    __tablename__ = "sessions"

    id: bytes = Field(sa_column=Column(_Random, primary_key=True))
    user_id: int = Field(sa_column=Column(_Id, nullable=False))
    generation: int = Field(sa_column=Column(_Number, nullable=False))
    """The user's, when the password was checked."""
    serial: int = Field(sa_column=Column(_Number, nullable=False))
    """Of the newest refresh token."""
    previous: int = Field(sa_column=Column(_Number, nullable=False))
    """Of the one that was presented for it."""
    device: bytes = Field(sa_column=Column(_Label, nullable=False))
    """The client's label in UTF-8, whatever the connection's character set."""
    created_at: int = Field(sa_column=Column(BigInteger, nullable=False))
    rotated_at: int = Field(sa_column=Column(BigInteger, nullable=False))
    used_at: int = Field(sa_column=Column(BigInteger, nullable=False))
    expires_at: int = Field(sa_column=Column(BigInteger, nullable=False))
    """When it does so however it is used."""
    ended_at: int | None = Field(default=None, sa_column=Column(BigInteger))
    end_reason: str | None = Field(default=None, sa_column=Column(String(16)))


class RevocationRow(SQLModel, table=True):
    """An entry of the feed that gateways read."""

    __tablename__ = "revocations"

    id: int | None = Field(default=None, sa_column=Column(_Id, primary_key=True, autoincrement=True))
    kind: str = Field(sa_column=Column(String(8), nullable=False))
    """`user`, `session` or `token`."""
    user_id: int | None = Field(default=None, sa_column=Column(_Id))
    token_id: bytes | None = Field(default=None, sa_column=Column(_Random))
    """Of the session or token that ended."""
    generation: int | None = Field(default=None, sa_column=Column(_Number))
    """The user's new one."""
    disabled: bool | None = Field(default=None, sa_column=Column(Boolean))
    at: int = Field(sa_column=Column(BigInteger, nullable=False))
    expires_at: int | None = Field(default=None, sa_column=Column(BigInteger))
    """When no token lives that it concerns; NULL when that is unknown."""


sessions: Table = SQLModel.metadata.tables["sessions"]
revocations: Table = SQLModel.metadata.tables["revocations"]
