"""`python -m tests.user_svc.no_lock DSN COUNT`: as many processes migrate at once on a server that refuses GET_LOCK."""

import multiprocessing
import sys
from typing import Any

from sqlalchemy import Engine, event

from user_svc import dsn, schema
from user_svc.database import Database


def refuse(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> tuple[str, Any]:
    """Have the server answer GET_LOCK as Percona XtraDB Cluster does."""
    if "GET_LOCK" not in statement:
        return statement, parameters
    return "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1105, MESSAGE_TEXT = 'prohibits use of GET_LOCK'", ()


def main() -> int:
    """Migrate, and return how many processes failed."""
    database, count = Database(dsn.parse(sys.argv[1])), int(sys.argv[2])
    event.listen(Engine, "before_cursor_execute", refuse, retval=True)
    fork = multiprocessing.get_context("fork")
    together = fork.Barrier(count)

    def migrate() -> None:
        together.wait()
        schema.upgrade(database)

    processes = [fork.Process(target=migrate) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return sum(process.exitcode != 0 for process in processes)


if __name__ == "__main__":
    sys.exit(main())
