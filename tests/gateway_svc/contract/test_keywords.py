"""Every keyword that a schema may have is checked, in a body and in an answer's reason; every other is refused."""

import json
from typing import Any

import pytest

from gateway_svc.contract import schema as schemas
from tests.gateway_svc.contract.support import body, contract, parameter, serve

STRING, INTEGER = {"type": "string"}, {"type": "integer"}

KEYWORDS: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "type": (STRING, "a", 1),
    "enum": ({"type": "string", "enum": ["a", "b"]}, "b", "c"),
    "minLength": ({"type": "string", "minLength": 2}, "ab", "a"),
    "maxLength": ({"type": "string", "maxLength": 2}, "ab", "abc"),
    "pattern": ({"type": "string", "pattern": "^[a-z]+$"}, "ab", "ab\n"),
    "format": ({"type": "string", "format": "bcrypt-password"}, "密" * 24, "密" * 25),
    "minimum": ({"type": "integer", "minimum": 2}, 2, 1),
    "maximum": ({"type": "number", "maximum": 2.5}, 2.5, 2.6),
    "exclusiveMinimum": ({"type": "integer", "minimum": 2, "exclusiveMinimum": True}, 3, 2),
    "exclusiveMaximum": ({"type": "integer", "maximum": 2, "exclusiveMaximum": True}, 1, 2),
    "multipleOf": ({"type": "integer", "multipleOf": 5}, 10, 11),
    "items": ({"type": "array", "items": INTEGER}, [1, 2], [1, "2"]),
    "minItems": ({"type": "array", "items": INTEGER, "minItems": 1}, [1], []),
    "maxItems": ({"type": "array", "items": INTEGER, "maxItems": 1}, [1], [1, 2]),
    "uniqueItems": ({"type": "array", "items": INTEGER, "uniqueItems": True}, [1, 2], [1, 1]),
    "properties": ({"type": "object", "properties": {"a": INTEGER}}, {"a": 1, "b": 2}, {"a": "1"}),
    "required": ({"type": "object", "required": ["a"]}, {"a": 1}, {"b": 1}),
    "additionalProperties": ({"type": "object", "additionalProperties": INTEGER}, {"a": 1}, {"a": "1"}),
    "minProperties": ({"type": "object", "minProperties": 1}, {"a": 1}, {}),
    "maxProperties": ({"type": "object", "maxProperties": 1}, {"a": 1}, {"a": 1, "b": 1}),
    "allOf": ({"allOf": [STRING, {"minLength": 2}]}, "ab", "a"),
    "anyOf": ({"anyOf": [STRING, INTEGER]}, 1, True),
    "oneOf": ({"oneOf": [{"type": "integer", "minimum": 1}, {"type": "integer", "maximum": 1}]}, 2, 1),
    "not": ({"not": STRING}, 1, "a"),
}

GATEWAYS_WORDS = {"type", "minLength", "maxLength", "format", "required"}
"""Keywords whose reason is the gateway's own."""
GATEWAYS_WORDS |= {"items", "properties", "additionalProperties", "allOf"}  # they break by a keyword inside


async def handle(body: Any) -> Any:
    return {"got": body}


def test_each_accepted_keyword_has_a_case() -> None:
    assert KEYWORDS.keys() == schemas._RULES


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_keyword_decides_over_a_body(keyword: str) -> None:
    schema, valid, invalid = KEYWORDS[keyword]
    application = serve(contract(requestBody=body(schema)), handle=handle)
    assert application.ask("POST", "/things", json.dumps(valid).encode())[:2] == (200, {"got": valid})
    refused = application.ask("POST", "/things", json.dumps(invalid).encode())
    assert refused.status == 400
    assert refused.body["msg"].startswith("参数错误: ")


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_broken_keyword_gives_its_own_reason(keyword: str) -> None:
    schema, _, invalid = KEYWORDS[keyword]
    application = serve(contract(requestBody=body({**schema, f"x-{keyword}-reason": "因为"})), handle=handle)
    refused = application.ask("POST", "/things", json.dumps(invalid).encode())
    own_words = {"type", "minLength", "maxLength", "format", "required"} | {
        "items",
        "properties",
        "additionalProperties",
        "allOf",
    }
    assert ("因为" in refused.body["msg"]) == (keyword not in own_words)


@pytest.mark.parametrize("annotation", sorted(schemas._ANNOTATIONS))
def test_annotation_changes_nothing(annotation: str) -> None:
    application = serve(contract(requestBody=body({**STRING, annotation: _annotation(annotation)})), handle=handle)
    assert application.ask("POST", "/things", b'"a"').status == 200


def _annotation(name: str) -> Any:
    return {"deprecated": True, "externalDocs": {"url": "https://example.org"}}.get(name, "a")


@pytest.mark.parametrize(
    "unsupported",
    [
        {"nullable": True},
        {"readOnly": True},
        {"writeOnly": True},
        {"default": "a"},
        {"xml": {"name": "a"}},
        {"discriminator": {"propertyName": "a"}},
        {"format": "date-time"},
        {"format": "email"},
        {"pattern": "("},
        {"pattern": "(?=a)"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "place",
    [
        lambda schema: schema,
        lambda schema: {"type": "object", "properties": {"a": schema}},
        lambda schema: {"type": "object", "additionalProperties": schema},
        lambda schema: {"type": "array", "items": schema},
        lambda schema: {"anyOf": [STRING, {"not": schema}]},
    ],
)
def test_unsupported_keyword_ends_the_start(unsupported: dict[str, Any], place: Any) -> None:
    [(keyword, value)] = unsupported.items()
    named = value if keyword == "format" else "not a" if keyword == "pattern" else keyword
    with pytest.raises(ValueError, match=r"^POST /things: requestBody") as refused:
        serve(contract(requestBody=body(place({**STRING, **unsupported}))), handle=handle)
    assert named in str(refused.value) or keyword == "pattern"


def test_unsupported_keyword_of_a_parameter_is_refused() -> None:
    with pytest.raises(ValueError, match=r"GET /things: parameter 'thing'.*nullable"):
        serve(contract(parameters=[parameter("query", {**STRING, "nullable": True})]), handle=handle)
