"""Writes the tables of settings in docs/ from the settings classes: `make docs`."""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from etcd_auth.config import AuthSettings
from gateway_svc.config import GatewaySettings
from run.config import RunSettings
from service_kit.settings import ServiceSettings, TracingSettings
from user_svc.config import UserSettings

DOCS = Path(__file__).parent

Fields = dict[str, FieldInfo]
Row = tuple[str, str, str, str]


def pages() -> dict[Path, str]:
    """Return the pages that have tables, with these as the classes have them.

    Raises:
        ValueError: when a field has no description, or a table has no place.
    """
    texts = {DOCS / name: (DOCS / name).read_text(encoding="utf-8") for name in ("configuration.md", "tracing.md")}
    for section, fields in _sections().items():
        rows = [("variable", "default", "values", "meaning"), ("---",) * 4]
        rows += [_row(name, field) for name, field in fields.items()]
        table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
        begin, end = f"<!-- generated: {section} -->\n", "<!-- end -->"
        (page,) = (page for page, text in texts.items() if begin in text)
        before, _, rest = texts[page].partition(begin)
        texts[page] = f"{before}{begin}{table}{end}{rest.partition(end)[2]}"
    return texts


def _sections() -> dict[str, Fields]:
    gateway, user, auth = _fields(GatewaySettings), _fields(UserSettings), _fields(AuthSettings)
    both = {name: field for name, field in gateway.items() if _row(name, field) == _row_in(user, name)}
    run = _fields(RunSettings)
    passed_on = {
        name for name, field in run.items() if _row(name, field) in (_row_in(user, name), _row_in(gateway, name))
    }
    return {
        "both": both,
        "gateway_svc": _without(gateway, both),
        "user_svc": _without(user, both),
        "etcd_auth": {name: field for name, field in auth.items() if _row(name, field) != _row_in(both, name)},
        "make run": _without(run, passed_on),
        "tracing": TracingSettings.model_fields,
    }


def _fields(settings: type[ServiceSettings]) -> Fields:
    """Return the variables of a class, without OpenTelemetry's and without what only says where a value came from."""
    fields = settings.model_fields
    return {
        name: field
        for name, field in fields.items()
        if name not in TracingSettings.model_fields and name.removesuffix("_file") not in fields.keys() - {name}
    }


def _without(fields: Fields, names: Iterable[str]) -> Fields:
    return {name: field for name, field in fields.items() if name not in set(names)}


def _row_in(fields: Fields, name: str) -> Row | None:
    return _row(name, fields[name]) if name in fields else None


def _row(name: str, field: FieldInfo) -> Row:
    if not field.description:
        raise ValueError(f"{name} has no description; write a string below the field")
    return f"`{name.upper()}`", _default(field), _values(field), " ".join(field.description.split())


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    return "" if value in (None, "", ()) else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _values(field: FieldInfo) -> str:
    kind: Any = field.annotation
    if get_origin(kind) in {Union, UnionType}:
        (kind,) = (each for each in get_args(kind) if each is not type(None))
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return ", ".join(f"`{value}`" for value in kind)
    if kind is bool:
        return "`true`, `false`"
    if kind is Path:
        return "path"
    limits = {
        name: value
        for each in field.metadata
        for name in ("ge", "gt", "le")
        if (value := getattr(each, name, None)) is not None
    }
    least, most = limits.get("ge", limits.get("gt")), limits.get("le")
    above = "above " if "gt" in limits else ""
    return f"{above}{least} to {most}" if most is not None else f"{above}{least}" if least is not None else ""


if __name__ == "__main__":
    for page, text in pages().items():
        page.write_text(text, encoding="utf-8")
