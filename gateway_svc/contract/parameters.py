"""Parameters of an operation: found in a request, turned into values of their types, checked by their schemas.

Styles are those of OpenAPI 3.0.3, "Style Values": `simple` in paths and headers, `form` in queries.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from gateway_svc import problems
from gateway_svc.contract.schema import Schema
from gateway_svc.problems import FieldError

MAX_QUERY_FIELDS = 100

_STYLES = {"path": "simple", "header": "simple", "query": "form"}
_KEYS = {"name", "in", "required", "schema", "style", "explode", "description", "example", "examples", "deprecated"}
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_BOOLEANS = {"true": True, "false": False}


class _NotOfTypeError(Exception):
    """A text that does not stand for a value of the schema's type."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation."""

    name: str
    argument: str
    """Name of the handler's argument."""
    place: str
    required: bool
    default: Any
    is_array: bool
    repeated: bool
    """Whether an array may come in several fields: `explode` in a query, lines of a header (RFC 9110, section 5.3)."""
    separated: bool
    """Whether a field holds several elements of an array, with commas between."""
    convert: Callable[[str], Any]
    schema: Schema
    reason: str
    """Why a text is refused that is not of the schema's type."""
    is_free: bool
    """Whether any request is valid, so that there is nothing to check."""

    def value_of(self, fields: Sequence[bytes]) -> Any:
        """Return the value that the fields of this name stand for, as they were sent.

        Raises:
            Problem: 400.
        """
        if not fields:
            if self.required:
                raise self._refusal("缺少该参数")
            return self.default
        if len(fields) > 1 and not self.repeated:
            raise self._refusal("不能重复")
        if self.separated:
            fields = [element for field in fields for element in field.split(b",")]
        try:
            values = [self.convert(self._text(each)) for each in fields]
        except UnicodeDecodeError:
            raise self._refusal("不是有效的 UTF-8") from None
        except _NotOfTypeError:
            raise self._refusal(self.reason) from None
        value = values if self.is_array else values[0]
        if not self.schema.is_valid(value):
            raise problems.bad_request(*(self._error(each.reason) for each in self.schema.violations(value)))
        return value

    def _text(self, field: bytes) -> str:
        match self.place:
            case "query":  # application/x-www-form-urlencoded
                return unquote_to_bytes(field.replace(b"+", b" ")).decode()
            case "path":
                return unquote_to_bytes(field).decode()
        return field.strip(b" \t").decode()

    def _error(self, reason: str) -> FieldError:
        return FieldError(None, self.name, reason)

    def _refusal(self, reason: str) -> problems.Problem:
        return problems.bad_request(self._error(reason))


def compile_parameters(declared: Sequence[Mapping[str, Any]], where: str) -> list[Parameter]:
    """Return the parameters of an operation, which `where` names in errors.

    Connexion lists what a path declares for all its operations more than once: the first of a name and a place counts.

    Raises:
        ValueError: when one asks for what nothing here does.
    """
    unique: dict[tuple[str, str], Parameter] = {}
    for each in declared:
        parameter = _compile(each, where)
        unique.setdefault((parameter.place, parameter.name.lower()), parameter)
    return list(unique.values())


def _compile(declared: Mapping[str, Any], where: str) -> Parameter:
    name, place = declared["name"], declared["in"]
    where = f"{where}: parameter {name!r}"
    if unknown := {key for key in declared if key not in _KEYS and not key.startswith("x-")}:
        raise ValueError(f"{where}: the gateway does not support {', '.join(sorted(unknown))}")
    if place not in _STYLES:
        raise ValueError(f"{where}: the gateway does not read parameters in: {place}")
    if declared.get("style", _STYLES[place]) != _STYLES[place]:
        raise ValueError(f"{where}: the gateway does not support the style {declared['style']!r} in: {place}")
    schema = dict(declared["schema"])
    default = schema.pop("default", None)
    is_array = schema.get("type") == "array"
    explodes = place == "query" and declared.get("explode", True)
    element = schema.get("items", {}) if is_array else schema
    convert, reason = _converter(element.get("type"), where)
    return Parameter(
        name,
        argument=name.lower().replace("-", "_"),
        place=place,
        required=declared.get("required", False),
        default=default,
        is_array=is_array,
        repeated=is_array and (explodes or place == "header"),
        separated=is_array and not explodes,
        convert=convert,
        schema=Schema(schema, where),
        reason=reason,
        is_free=not declared.get("required") and schema == {"type": "string"},
    )


def _converter(kind: str | None, where: str) -> tuple[Callable[[str], Any], str]:
    match kind:
        case "string":
            return str, ""
        case "integer":
            return _integer, "必须是整数"
        case "number":
            return _number, "必须是数字"
        case "boolean":
            return _boolean, "必须是布尔值"
    raise ValueError(f"{where}: its type must be string, integer, number or boolean, or an array of one of them")


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise _NotOfTypeError
    return int(text)


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text) or not math.isfinite(value := float(text)):
        raise _NotOfTypeError
    return value


def _boolean(text: str) -> bool:
    try:
        return _BOOLEANS[text]
    except KeyError:
        raise _NotOfTypeError from None


def fields_of(query: bytes) -> dict[str, list[bytes]]:
    """Return the values of a query's fields by name, in order, still encoded.

    Raises:
        Problem: 400, when there are more than `MAX_QUERY_FIELDS`.
    """
    fields: dict[str, list[bytes]] = {}
    pairs = query.split(b"&", MAX_QUERY_FIELDS)
    if len(pairs) > MAX_QUERY_FIELDS:
        raise problems.bad_request(FieldError(None, "query", f"至多 {MAX_QUERY_FIELDS} 个参数"))
    for pair in filter(None, pairs):
        name, _, value = pair.partition(b"=")
        fields.setdefault(unquote_to_bytes(name.replace(b"+", b" ")).decode(errors="replace"), []).append(value)
    return fields
