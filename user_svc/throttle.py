"""Throttling of password guesses by name: exact over all instances, since the database counts.

Clients with a device token of the user are counted separately, so that an attack does not lock the user out (OWASP,
"Device cookies").
"""

import hashlib
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    LargeBinary,
    Table,
    bindparam,
    case,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import IntegrityError
from sqlmodel import Field, SQLModel

from protos.user.v1 import user_pb2
from service_kit.settings import ThrottleMode
from user_svc import audit, metrics
from user_svc.clock import now
from user_svc.database import Database
from user_svc.database_errors import DatabaseUnavailableError
from user_svc.repeats import repeat
from user_svc.standing import DOUBTED, Standing, UnderWay
from user_svc.store import Account

FREE = 10
"""Wrong passwords after which each further one costs a pause."""
LONGEST = 60_000
"""Milliseconds between two tries, at most."""
FORGOTTEN = 86_400_000
"""Milliseconds without a wrong password after which the earlier ones do not count any more."""

logger = logging.getLogger(__name__)


class Bucket(StrEnum):
    """Keys that wrong passwords are counted by."""

    ACCOUNT = "account"
    DEVICE = "device"


class LoginFailures(SQLModel, table=True):
    """The wrong passwords for a name, whether it exists or not, or from a device."""

    __tablename__ = "login_failures"

    id: bytes = Field(
        sa_column=Column(LargeBinary(16).with_variant(mysql.BINARY(16), "mysql", "mariadb"), primary_key=True)
    )
    """Of a digest, so that the table names nobody whose name it cannot be compared with."""
    failures: int = Field(
        sa_column=Column(Integer().with_variant(mysql.INTEGER(unsigned=True), "mysql", "mariadb"), nullable=False)
    )
    last_at: int = Field(sa_column=Column(BigInteger, nullable=False))
    """When the last one came, or the last try after a pause began; milliseconds since the epoch."""


login_failures: Table = SQLModel.metadata.tables["login_failures"]
_is_row = login_failures.c.id == bindparam("row")
_FIND = select(login_failures.c.failures, login_failures.c.last_at, now().label("now")).where(_is_row)
_CLAIM = (
    update(login_failures)
    .where(
        _is_row,
        login_failures.c.failures == bindparam("seen"),
        login_failures.c.last_at <= now() - bindparam("pause", type_=BigInteger),
    )
    .values(last_at=now())
)
# in this order, since MySQL evaluates assignments one after the other
_COUNT = (
    update(login_failures)
    .where(_is_row)
    .ordered_values(
        (
            login_failures.c.failures,
            case((login_failures.c.last_at < now() - FORGOTTEN, 1), else_=login_failures.c.failures + 1),
        ),
        (login_failures.c.last_at, now()),
    )
)
_FIRST = insert(login_failures).values(id=bindparam("row"), failures=1, last_at=now())
_FORGET = delete(login_failures).where(_is_row)


class ThrottledError(Exception):
    """Too many wrong passwords were given for the name."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the next try is due in {retry_after} s")
        self.retry_after = retry_after
        """Whole seconds, at least 1."""


def pause(failures: int) -> int:
    """Return the milliseconds that must pass before the next try."""
    if failures < FREE:
        return 0
    return min(1000 << min(failures - FREE, 16), LONGEST)


class Attempt:
    """One try of a password. Each method raises DatabaseUnavailableError when the database cannot be used."""

    @contextmanager
    def under_way(self) -> Iterator[Standing]:
        """Tell the standing of this try, and until the context is left, that it is under way."""
        yield Standing.USUAL

    def claim(self) -> None:
        """Take the turn for this try, so that no other call has it; to be called when a core is free for the hash.

        Raises:
            ThrottledError: when wrong passwords were counted, or the turn was taken, since the try began.
        """

    def failed(self) -> None:
        """Count a wrong password."""

    def succeeded(self) -> None:
        """Forget the wrong passwords. That it could not be done is logged only."""


class _Counted(Attempt):
    def __init__(
        self,
        database: Database,
        under_way: UnderWay,
        bucket: Bucket,
        row: bytes,
        patience: Callable[[], float],
        refuse: Callable[[int], None],
        report: Callable[[int], None],
    ) -> None:
        self._database = database
        self._under_way = under_way
        self._bucket = bucket
        self._row = row
        self._patience = patience
        self._refuse = refuse
        self._report = report
        self._seen = 0

    def look(self) -> None:
        """Refuse the try unless its turn has come."""
        if milliseconds := self._due_in():
            self._refuse(milliseconds)

    @contextmanager
    def under_way(self) -> Iterator[Standing]:
        with self._under_way.enter(self._row) as alone:
            if not alone:
                yield Standing.DOUBTFUL
            elif self._bucket is Bucket.DEVICE:  # who mistyped on a known device still is the owner
                yield Standing.OWNER
            else:
                yield Standing.DOUBTFUL if self._seen >= DOUBTED else Standing.USUAL

    def claim(self) -> None:
        milliseconds = self._due_in()
        needed = pause(self._seen)
        if not milliseconds and needed and not repeat(lambda: self._take(needed), self._patience()):
            milliseconds = needed
        if milliseconds:
            self._refuse(milliseconds)

    def failed(self) -> None:
        repeat(self._count, self._patience())
        if self._seen + 1 >= FREE:
            self._report(self._seen + 1)

    def succeeded(self) -> None:
        if not self._seen:
            return
        try:
            with self._database.connection("forget_failures", "DELETE login_failures") as connection:
                connection.execute(_FORGET, {"row": self._row})
        except DatabaseUnavailableError as error:
            logger.info("the count of wrong passwords could not be reset", extra={"cause": str(error)})

    def _due_in(self) -> int:
        """Return the milliseconds until the next turn, 0 when it has come."""
        self._seen, elapsed = repeat(self._find, self._patience())
        return max(0, pause(self._seen) - elapsed)

    def _find(self) -> tuple[int, int]:
        """Return the wrong passwords that count, and the milliseconds since the last."""
        with self._database.connection("find_failures", "SELECT login_failures") as connection:
            found = connection.execute(_FIND, {"row": self._row}).first()
        if found is None or found.now - found.last_at >= FORGOTTEN:
            return 0, 0
        return found.failures, max(0, found.now - found.last_at)

    def _take(self, milliseconds: int) -> bool:
        with self._database.connection("claim_try", "UPDATE login_failures") as connection:
            values = {"row": self._row, "seen": self._seen, "pause": milliseconds}
            return connection.execute(_CLAIM, values).rowcount == 1

    def _count(self) -> None:
        values = {"row": self._row}
        with self._database.connection("count_failure", "UPDATE login_failures") as connection:
            if connection.execute(_COUNT, values).rowcount:
                return
            try:
                connection.execute(_FIRST, values)
            except IntegrityError:  # another one's first failure was faster
                connection.execute(_COUNT, values)


class Throttle:
    """Counts wrong passwords in the database."""

    def __init__(self, database: Database, mode: ThrottleMode) -> None:
        self._database = database
        self._mode = mode
        self._under_way = UnderWay()
        if mode is not ThrottleMode.OFF:
            for bucket in Bucket:
                metrics.login_throttle.labels(bucket.value, mode.value)

    def presume(self, username: str, *, with_device: bool) -> Standing:
        """Return the standing that an attempt will have, as far as that can be told without the database."""
        if with_device:
            return Standing.OWNER
        return Standing.DOUBTFUL if self._under_way.has(key_of(username)) else Standing.USUAL

    def attempt(
        self, username: str, account: Account | None, device: user_pb2.Device | None, patience: Callable[[], float]
    ) -> Attempt:
        """Begin a try, or refuse it at once.

        Args:
            username: in whatever case.
            account: the user of that name, if there is one.
            device: what the gateway read from a device token; another user's counts as none.
            patience: tells the seconds within which a statement that the database rolled back is executed again.

        Raises:
            ThrottledError: when its turn has not come.
            DatabaseUnavailableError: when the database cannot be used.
        """
        if self._mode is ThrottleMode.OFF:
            return Attempt()
        if device is not None and account is not None and _is_of(device, account):
            bucket, row = Bucket.DEVICE, _digest(b"device", account.id.to_bytes(8, "big"), device.id)
        else:
            bucket, row = Bucket.ACCOUNT, key_of(username)

        def refuse(milliseconds: int) -> None:
            metrics.login_throttle.labels(bucket.value, self._mode.value).inc()
            if self._mode is ThrottleMode.ENFORCE:
                raise ThrottledError(math.ceil(milliseconds / 1000))

        def report(failures: int) -> None:
            user_id = None if account is None else account.id
            audit.record(audit.Event.PASSWORD_GUESSING, user_id, counted_by=bucket.value, failures=failures)

        attempt = _Counted(self._database, self._under_way, bucket, row, patience, refuse, report)
        if self._mode is ThrottleMode.ENFORCE:  # before a place in the queue is taken for nothing
            attempt.look()
        return attempt


def forget(connection: Connection, username: str) -> None:
    """Forget the wrong passwords for a name, within the transaction in which its user changes."""
    connection.execute(_FORGET, {"row": key_of(username)})


def key_of(username: str) -> bytes:
    """Return the id of the row of a name, in whatever case."""
    return _digest(b"name", username.lower().encode())


def _is_of(device: user_pb2.Device, account: Account) -> bool:
    return (device.user_id, device.generation) == (account.id, account.generation) and len(device.id) > 0


def _digest(*parts: bytes) -> bytes:
    return hashlib.sha256(b"\0".join(parts)).digest()[:16]
