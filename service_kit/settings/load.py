"""Loading of a settings class, with every problem named at once and no value ever shown."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, NoReturn, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from service_kit.settings import env_file

DOTENV = ".env"

S = TypeVar("S", bound="ServiceSettings")


class ServiceSettings(BaseSettings):
    """The base of each service's settings.

    A field `db_dsn` is read from the variable DB_DSN or the file that DB_DSN_FILE names; a field `db_dsn_file` beside
    it tells which file that was. What the environment does not set may stand in a `.env` file in the working directory,
    under the same names. A variable that is set to nothing counts as not set, and what no field is named after is left
    alone. The string below a field is its description in docs/configuration.md (`make docs`).
    """

    model_config = SettingsConfigDict(
        env_file=DOTENV,
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )
    optional_files: ClassVar[frozenset[str]] = frozenset()
    """The fields whose file may be missing or empty, which is the same as not set."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read `.env` by the rules of `env_file`."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, env_file.EnvFileSource(settings_cls)


class InvalidSettingsError(Exception):
    """Settings that a service cannot start with: one sentence a problem, each opening with the variable's name."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def load(settings: type[S]) -> S:
    """Read `settings` from the environment.

    Raises:
        InvalidSettingsError: with every missing or malformed variable, never with a value.
    """
    mounted, problems = _read_mounted(settings)
    try:
        loaded = settings(**mounted)
    except ValidationError as invalid:
        for problem in invalid.errors():
            name = str(problem["loc"][0]).upper() if problem["loc"] else ""
            problems.setdefault(name, _sentence(name, problem["type"], problem["msg"]))
    except SettingsError as error:
        problems[""] = str(error)  # a list that is not JSON; it names the field and shows no value
    else:
        if not problems:
            return loaded
    raise InvalidSettingsError(list(problems.values()))


def load_or_exit(settings: type[S]) -> S:
    """Read `settings` from the environment, or name every problem on standard error and exit with code 2."""
    try:
        return load(settings)
    except InvalidSettingsError as invalid:
        exit_with(invalid.problems)


def exit_with(problems: list[str]) -> NoReturn:
    """Print one line a problem on standard error and exit with code 2."""
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)  # noqa: T201  # logging is configured from these settings
    sys.exit(2)


def _read_mounted(settings: type[ServiceSettings]) -> tuple[dict[str, str | None], dict[str, str]]:
    """Return the values of the fields that come from files, by field, and the problems met, by variable."""
    try:
        sources: list[Mapping[str, str | None]] = [os.environ, env_file.read(Path(DOTENV))]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettingsError([f"{DOTENV} cannot be read: {_reason(error)}"]) from None
    values: dict[str, str | None] = {}
    problems: dict[str, str] = {}
    for field in settings.model_fields:
        try:
            path, value = _mounted(field.upper(), sources, optional=field in settings.optional_files)
        except ValueError as error:
            problems[field.upper()] = str(error)
        else:
            if value is not None:
                values[field] = value
            if f"{field}_file" in settings.model_fields:
                values[f"{field}_file"] = path
    return values, problems


def _mounted(name: str, sources: list[Mapping[str, str | None]], *, optional: bool) -> tuple[str | None, str | None]:
    """Return the path in `name`_FILE and the file's contents, or None twice when no file gives the variable.

    Raises:
        ValueError: when the file cannot be read or is empty, or both variables are set side by side.
    """
    for source in sources:
        path = source.get(f"{name}_FILE")
        if source.get(name):
            if path:
                raise ValueError(f"{name} and {name}_FILE are both set; keep one of them")
            return None, None
        if path:
            break
    else:
        return None, None
    try:
        value = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        if optional and isinstance(error, FileNotFoundError):
            return path, None
        raise ValueError(f"{name}_FILE names a file that cannot be read: {_reason(error)}") from None
    if not value and not optional:
        raise ValueError(f"{name}_FILE names an empty file")
    return path, value or None


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or "no reason given") if isinstance(error, OSError) else "not UTF-8"


def _sentence(name: str, kind: str, message: str) -> str:
    if kind == "missing":
        return f"{name} is not set"
    message = message.removeprefix("Value error, ")
    if not name or message.startswith(name):
        return message
    return f"{name}: {message[:1].lower()}{message[1:]}"
