"""Validation against the contract's schemas: supported keywords, and the reasons in error responses."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import jsonschema_rs

from protos.user.v1.contract import PASSWORD_REASON, is_bcrypt_password

MAX_ERRORS = 16

FORMATS: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "bcrypt-password": (is_bcrypt_password, PASSWORD_REASON),
}
"""The formats that the contract may name: the check and the reason given for a refusal."""

_RULES = frozenset(
    {
        "type",
        "enum",
        "minLength",
        "maxLength",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "items",
        "minItems",
        "maxItems",
        "uniqueItems",
        "properties",
        "required",
        "additionalProperties",
        "minProperties",
        "maxProperties",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
    }
)
_ANNOTATIONS = frozenset({"title", "description", "example", "externalDocs", "deprecated"})
"""Keywords that say nothing about which values are valid."""

_TYPES = {
    "object": " JSON 对象",
    "array": "数组",
    "string": "字符串",
    "integer": "整数",
    "number": "数字",
    "boolean": "布尔值",
    "null": "null",
}
_Kind = jsonschema_rs.ValidationErrorKind


class Violation(NamedTuple):
    """A rule that a value breaks."""

    path: list[str]
    """Path from the value to the violation."""
    reason: str


class Schema:
    """The rules for one value (OpenAPI 3.0.3, Schema Object)."""

    def __init__(self, schema: Mapping[str, Any], where: str) -> None:
        """Compile `schema`, whose references are resolved; `where` is its location in error messages.

        Raises:
            ValueError: when it holds a keyword that nothing would check, or is not valid.
        """
        _refuse_unsupported(schema, where)
        self._schema = schema
        try:
            self._validator = jsonschema_rs.Draft4Validator(
                dict(schema),
                formats={name: check for name, (check, _) in FORMATS.items()},
                validate_formats=True,
                ignore_unknown_formats=False,
                pattern_options=jsonschema_rs.RegexOptions(),  # linear time, no backtracking
            )
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        self.is_valid: Callable[[Any], bool] = self._validator.is_valid
        """Whether a value is valid; raises ValueError when it is nested too deeply to be checked."""

    def violations(self, value: Any) -> list[Violation]:
        """Return the first `MAX_ERRORS` rules that `value` breaks."""
        return [self._explain(error) for error in islice(self._validator.iter_errors(value), MAX_ERRORS)]

    def _explain(self, error: jsonschema_rs.ValidationError) -> Violation:
        path = [str(step) for step in error.instance_path]
        match error.kind:
            case _Kind.Required(property=name):
                return Violation([*path, name], "缺少该字段")
            case _Kind.Type(types=types):
                return Violation(path, f"必须是{'或'.join(_TYPES[each] for each in types)}")
            case _Kind.MinLength(limit=limit):
                return Violation(path, f"至少 {limit} 个字符")
            case _Kind.MaxLength(limit=limit):
                return Violation(path, f"至多 {limit} 个字符")
            case _Kind.Format(format=name):
                return Violation(path, FORMATS[name][1])
            case _Kind.AdditionalProperties():
                return Violation(path, "包含未定义的字段")
        return Violation(path, self._reason(error.schema_path))

    def _reason(self, path: Sequence[str | int]) -> str:
        """Return the contract's own words, `x-<keyword>-reason` beside the keyword that was broken."""
        place: Any = self._schema
        for step in path[:-1]:
            place = place[step]
        return str(place.get(f"x-{path[-1]}-reason", "不符合接口约定"))


def _refuse_unsupported(schema: Any, where: str) -> None:
    for keyword, value in schema.items():
        if keyword in _RULES:
            for step, inner in _schemas_in(keyword, value):
                _refuse_unsupported(inner, f"{where}/{step}")
        elif keyword not in _ANNOTATIONS and not keyword.startswith("x-"):
            raise ValueError(
                f"{where}: the gateway does not check the keyword {keyword!r}; remove it from the contract"
            )
    if (name := schema.get("format")) is not None and name not in FORMATS:
        raise ValueError(f"{where}: the gateway does not check the format {name!r}; remove it from the contract")


def _schemas_in(keyword: str, value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if keyword in {"items", "not"} or (keyword == "additionalProperties" and not isinstance(value, bool)):
        yield keyword, value
    elif keyword == "properties":
        for name, inner in value.items():
            yield f"{keyword}/{name}", inner
    elif keyword in {"allOf", "anyOf", "oneOf"}:
        for index, inner in enumerate(value):
            yield f"{keyword}/{index}", inner
