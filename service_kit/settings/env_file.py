"""The file `.env`: python-dotenv's syntax, with single quotes as in Docker Compose."""

import os
import re
from pathlib import Path

from dotenv.main import with_warn_for_invalid_lines
from dotenv.parser import parse_stream
from dotenv.variables import parse_variables
from pydantic_settings import DotEnvSettingsSource

_SINGLE_QUOTED = re.compile(r"[^=]*=[^\S\r\n]*'")


def read(path: Path) -> dict[str, str | None]:
    """Return the variables that the file sets, none when there is no such file.

    `${NAME}` and `${NAME:-default}` in values without quotes or in double quotes stand for variables, of the file
    before those of the environment, as in https://github.com/theskumar/python-dotenv#variable-expansion. What is in
    single quotes is taken as it is, as in Docker Compose:
    https://docs.docker.com/compose/how-tos/environment-variables/variable-interpolation/#env-file-syntax

    Raises:
        OSError: when it cannot be read.
        UnicodeDecodeError: when it is not UTF-8.
    """
    values: dict[str, str | None] = {}
    if path.is_dir() or not path.exists():
        return values
    with path.open(encoding="utf-8") as file:
        for binding in with_warn_for_invalid_lines(parse_stream(file)):
            if binding.key is None:
                continue
            value = binding.value
            if value is not None and not _SINGLE_QUOTED.match(binding.original.string):
                variables = {**os.environ, **values}
                value = "".join(atom.resolve(variables) for atom in parse_variables(value))
            values[binding.key] = value
    return values


class EnvFileSource(DotEnvSettingsSource):
    """pydantic-settings' source of `.env`, which by itself replaces `${NAME}` in single quotes, too."""

    def _read_env_file(self, file_path: Path) -> dict[str, str | None]:
        return {name.lower(): value for name, value in read(file_path).items() if value}
