"""`python -m user_svc users`: commands of operators, on the database of the service's settings."""

import argparse
import getpass
import json
import secrets
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from service_kit.files import Reader, UnusableFileError
from service_kit.settings import exit_with
from user_svc import audit, new_passwords
from user_svc.accounts import AccountStore, Listed, is_erased
from user_svc.audit import Event
from user_svc.config import DatabaseSettings
from user_svc.database import Database
from user_svc.database_errors import DatabaseUnavailableError, UnknownOutcomeError, code_name
from user_svc.deadline import Deadline
from user_svc.new_passwords import Rule
from user_svc.passwords import Hasher, spellings
from user_svc.sessions import SessionStore
from user_svc.sessions.rules import IDLE
from user_svc.store import users

_SECONDS = 10.0
"""That one read or change of a command may take."""
_GENERATED_BYTES = 12
_LIMIT = 100
_DIGITS = 18
"""Of ids at most, which the database holds in 64 bits."""

_STATES = {
    "active": (users.c.deleted_at.is_(None), users.c.disabled_at.is_(None)),
    "disabled": (users.c.deleted_at.is_(None), users.c.disabled_at.is_not(None)),
    "deleted": (users.c.deleted_at.is_not(None), ~is_erased),
    "erased": (is_erased,),
}
_RULES = {
    Rule.SHORT: f"it has fewer than {new_passwords.LENGTH[0]} characters",
    Rule.LONG: f"it has more than {new_passwords.LENGTH[1]} characters",
    Rule.UNREADABLE: "it has more than 72 bytes of UTF-8, or a NUL",
    Rule.NAMED: "it contains the username",
    Rule.COMMON: "it is among those that are guessed first",
}
_COLUMNS = ("id", "username", "state", "created_at", "sessions")


class _RefusedError(Exception):
    """A command cannot be executed; the message says why, and what to do."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the commands."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="COMMAND")
    shown = argparse.ArgumentParser(add_help=False)
    shown.add_argument("--json", action="store_true", help="print JSON")
    one = argparse.ArgumentParser(add_help=False, parents=[shown])
    one.add_argument("user", metavar="USER", help="a username, or id:NUMBER")
    asked = argparse.ArgumentParser(add_help=False)
    asked.add_argument("--yes", action="store_true", help="do not ask")

    def add(name: str, run: "Callable[[_Operator, argparse.Namespace], None]", parents: Any, text: str) -> Any:
        command = commands.add_parser(name, parents=parents, help=text, description=f"{text[0].upper()}{text[1:]}.")
        command.set_defaults(run=run)
        return command

    listing = add("list", _Operator.list, [shown], "list users in the order of their ids")
    listing.add_argument("--state", choices=sorted(_STATES), help="only users in this state")
    listing.add_argument("--after", type=_id, default=0, metavar="ID", help="only users with a greater id")
    listing.add_argument("--limit", type=_count, default=_LIMIT, metavar="N", help=f"at most N users; {_LIMIT}")
    add("show", _Operator.show, [one], "show a user and the sessions")
    add("disable", _Operator.disable, [one], "log a user out everywhere and refuse further logins")
    add("enable", _Operator.enable, [one], "let a disabled user log in again")
    add("logout", _Operator.logout, [one], "end all sessions and access tokens of a user")
    add("erase", _Operator.erase, [one, asked], "delete what is known of a user but the id, and free the name")
    reset = add(
        "reset-password", _Operator.reset_password, [one, asked], "give a user a new password, and end all sessions"
    )
    reset.add_argument("--stdin", action="store_true", help="read it from standard input; else one is made up")


def run(arguments: argparse.Namespace, settings: DatabaseSettings) -> int:
    """Run the command that add_arguments() has parsed, and return the exit code: 1 when it could not be done."""
    audit.attribute_to("operator")
    source = settings.database
    if source.file is not None and not source.file.exists():
        return _fail(f"there is no database {source.file}: start the service once, or set DB_DSN or DATA_DIR")
    try:
        database = Database(settings.followed_database(Reader()))
    except UnusableFileError as error:
        exit_with([str(error)])
    try:
        arguments.run(_Operator(database, settings), arguments)
    except _RefusedError as refusal:
        return _fail(str(refusal))
    except TimeoutError:
        return _fail(f"{settings.database_variable}: the database did not answer in {_SECONDS:.0f} s; try again")
    except UnknownOutcomeError as error:
        return _fail(
            f"{settings.database_variable}: the connection was lost during the commit ({error}), so it is not known "
            "whether the change was made; run the command again"
        )
    except (DatabaseUnavailableError, SQLAlchemyError) as error:
        cause = code_name(error) if isinstance(error, SQLAlchemyError) else str(error)
        return _fail(
            f"{settings.database_variable}: the database cannot be used ({cause}); if the schema is older than this "
            "version, run `python -m user_svc migrate`"
        )
    finally:
        database.close()
    return 0


class _Operator:
    """The commands; each prints its result, and writes a line of the audit log when it changed anything."""

    def __init__(self, database: Database, settings: DatabaseSettings) -> None:
        self._accounts = AccountStore(database)
        self._sessions = SessionStore(database)
        self._settings = settings

    @property
    def _deadline(self) -> Deadline:
        """A new one for each read or change: between two, people think and a password is hashed."""
        return Deadline(_SECONDS)

    def list(self, arguments: argparse.Namespace) -> None:
        conditions = [users.c.id > arguments.after, *_STATES.get(arguments.state, ())]
        found = self._accounts.matching(self._deadline, *conditions, limit=arguments.limit + 1)
        listed = found[: arguments.limit]
        if arguments.json:
            _print_json([_fields(user) for user in listed])
        else:
            _print_table([[_fields(user)[name] for name in _COLUMNS] for user in listed], _COLUMNS)
        if len(found) > len(listed):
            _say(f"there are more: --after {listed[-1].id}")

    def show(self, arguments: argparse.Namespace) -> None:
        user = self._find(arguments.user)
        sessions = [
            {
                "session": row.id.hex()[:8],
                "device": row.device.decode(errors="replace"),
                "created_at": _moment(row.created_at),
                "used_at": _moment(row.used_at),
                "expires_at": _moment(min(row.used_at + IDLE, row.expires_at)),
            }
            for row in self._sessions.of_user(user.id, self._deadline)
        ]
        if arguments.json:
            _print_json({**_fields(user), "sessions": sessions})
            return
        for name, value in _fields(user).items():
            print(f"{name:<14}{_visible(value)}")  # noqa: T201
        if sessions:
            print()  # noqa: T201
            _print_table([list(session.values()) for session in sessions], tuple(sessions[0]))

    def disable(self, arguments: argparse.Namespace) -> None:
        user = self._find(arguments.user)
        self._require_present(user)
        if self._accounts.disable(user.id, self._deadline) is None:
            self._done(arguments, user, "is disabled already")
            return
        audit.record(Event.DISABLED, user.id)
        self._done(arguments, user, "is disabled, and logged out everywhere")

    def enable(self, arguments: argparse.Namespace) -> None:
        user = self._find(arguments.user)
        self._require_present(user)
        if not self._accounts.enable(user.id, self._deadline):
            self._done(arguments, user, "is not disabled")
            return
        audit.record(Event.ENABLED, user.id)
        self._done(arguments, user, "can log in again")

    def logout(self, arguments: argparse.Namespace) -> None:
        user = self._find(arguments.user)
        self._require_present(user)
        self._sessions.end_all(user.id, self._deadline)
        self._done(arguments, user, "is logged out everywhere")

    def erase(self, arguments: argparse.Namespace) -> None:
        user = self._find(arguments.user)
        if user.state == "erased":
            self._done(arguments, user, "is erased already")
            return
        self._ask(arguments, f"erase {user.username} (id {user.id}), which cannot be undone?")
        if self._accounts.erase(user.id, self._deadline) is None:
            raise _RefusedError(f"the user {user.username} has changed meanwhile; try again")
        audit.record(Event.ERASED, user.id)
        self._done(arguments, user, "is erased, and the name is free")

    def reset_password(self, arguments: argparse.Namespace) -> None:
        user = self._find(arguments.user)
        self._require_present(user)
        self._ask(arguments, f"replace the password of {user.username} (id {user.id}), which cannot be undone?")
        password = self._read(user.username) if arguments.stdin else secrets.token_urlsafe(_GENERATED_BYTES)
        password_hash = Hasher(self._settings.bcrypt_cost).hash(password)
        if self._accounts.reset_password(user.id, password_hash, self._deadline) is None:
            raise _RefusedError(f"the user {user.username} has changed meanwhile; try again")
        audit.record(Event.PASSWORD_RESET, user.id)
        made_up = {} if arguments.stdin else {"password": password}
        self._done(arguments, user, "has a new password, and is logged out everywhere", **made_up)

    def _find(self, name: str) -> Listed:
        prefix, _, number = name.rpartition(":")
        if prefix == "id" and _is_id(number):
            user = self._accounts.by_id(int(number), self._deadline)
        else:
            user = self._accounts.by_name(name, self._deadline)
        if user is None:
            raise _RefusedError(f"there is no user {_visible(name)}; `users list` shows those there are")
        return user

    def _require_present(self, user: Listed) -> None:
        if user.state in {"deleted", "erased"}:
            raise _RefusedError(f"the user {_visible(user.username)} is {user.state}; only `erase` can be used then")

    def _read(self, username: str) -> str:
        if sys.stdin.isatty():
            typed = getpass.getpass("new password: ")
        else:
            try:
                typed = sys.stdin.buffer.readline().decode().rstrip("\r\n")
            except UnicodeDecodeError:
                raise _RefusedError("the password on standard input is not UTF-8") from None
        if not typed:
            raise _RefusedError("there is no password on standard input; kubectl exec passes it on with -i")
        password = spellings(typed)[-1]
        check = self._settings.password_check
        if (rule := new_passwords.broken_rule(password, username, None, check)) is not None:
            off = "; PASSWORD_CHECK=off takes it" if rule in {Rule.NAMED, Rule.COMMON} else ""
            raise _RefusedError(f"the new password is refused: {_RULES[rule]}{off}")
        return password

    def _ask(self, arguments: argparse.Namespace, question: str) -> None:
        if arguments.yes:
            return
        if not sys.stdin.isatty():
            raise _RefusedError("this cannot be undone, and there is no terminal to ask on; use --yes")
        sys.stderr.write(f"{_visible(question)} [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise _RefusedError("nothing was changed")

    def _done(self, arguments: argparse.Namespace, user: Listed, what: str, **result: str) -> None:
        if arguments.json:
            _print_json({**self._state(user), **result})
            return
        _say(f"{_visible(user.username)} (id {user.id}) {what}")
        for value in result.values():
            print(value)  # noqa: T201

    def _state(self, user: Listed) -> dict[str, Any]:
        """Return what JSON shows of a user after a change, which is made, also when it cannot be read any more."""
        try:
            newest = self._accounts.by_id(user.id, self._deadline)
        except (DatabaseUnavailableError, SQLAlchemyError, TimeoutError):
            return {"id": user.id, "username": user.username}
        return _fields(newest or user)


def _count(value: str) -> int:
    number = int(value)
    if not 1 <= number <= 10_000:
        raise argparse.ArgumentTypeError("must be 1 to 10000")
    return number


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS


def _id(value: str) -> int:
    if not _is_id(value):
        raise argparse.ArgumentTypeError(f"must be a number of {_DIGITS} digits at most")
    return int(value)


def _fields(user: Listed) -> dict[str, Any]:
    moments = {
        name: value.replace(tzinfo=UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        for name, value in asdict(user).items()
        if isinstance(value, datetime)
    }
    return {**asdict(user), **moments}


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds // 1000, UTC).isoformat().replace("+00:00", "Z")


def _visible(value: object) -> str:
    """Return text for a terminal, whose escape sequences labels of devices must not reach."""
    text = "-" if value is None else str(value)
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def _print_table(rows: Iterable[Sequence[object]], columns: tuple[str, ...]) -> None:
    lines = [[name.upper() for name in columns], *([_visible(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(f"{value:<{width}}" for value, width in zip(line, widths, strict=True)).rstrip())  # noqa: T201


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))  # noqa: T201  # in ASCII, which no terminal interprets


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


def _fail(sentence: str) -> int:
    _say(f"error: {sentence}")
    return 1
