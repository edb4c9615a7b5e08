"""Parameters of paths, queries and headers: found, converted, checked, handed to the handler."""

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_svc.contract.parameters import MAX_QUERY_FIELDS
from tests.gateway_svc.contract.support import Application, Reply, contract, parameter, serve

STRING, INTEGER, NUMBER, BOOLEAN = ({"type": name} for name in ("string", "integer", "number", "boolean"))
INTEGERS = {"type": "array", "items": INTEGER, "minItems": 1, "maxItems": 3, "uniqueItems": True}
SHORT = {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-z]+$", "x-pattern-reason": "只能是小写字母"}


async def handle(thing: Any) -> Any:
    return {"got": thing}


async def handle_header(x_thing: Any) -> Any:
    return {"got": x_thing}


def serving(place: str, schema: dict[str, Any], **more: Any) -> Application:
    handler = handle_header if place == "header" else handle
    return serve(contract(parameters=[parameter(place, schema, **more)]), handle=handler)


def send(application: Application, place: str, *fields: str) -> Reply:
    match place:
        case "path":
            return application.ask("GET", f"/things/{fields[0]}")
        case "query":
            return application.ask("GET", "/things?" + "&".join(f"thing={field}" for field in fields))
    return application.ask("GET", "/things", headers=[(b"x-thing", field.encode()) for field in fields])


PLACES = ["path", "query", "header"]
VALID = [
    (STRING, "ab", "ab"),
    (SHORT, "abc", "abc"),
    ({"type": "string", "enum": ["a", "b"]}, "b", "b"),
    (INTEGER, "-12", -12),
    ({"type": "integer", "minimum": 1, "maximum": 9}, "9", 9),
    (NUMBER, "-1.5e2", -150.0),
    (BOOLEAN, "true", True),
    (BOOLEAN, "false", False),
    (INTEGERS, "3", [3]),
]
INVALID = [
    (SHORT, "a", "至少 2 个字符"),
    (SHORT, "abcde", "至多 4 个字符"),
    (SHORT, "ABC", "只能是小写字母"),
    ({"type": "string", "enum": ["a", "b"]}, "c", "不符合接口约定"),
    (INTEGER, "1.0", "必须是整数"),
    (INTEGER, "01", "必须是整数"),
    (INTEGER, "9" * 5000, "必须是整数"),
    (INTEGER, "１", "必须是整数"),
    ({"type": "integer", "minimum": 1}, "0", "不符合接口约定"),
    (NUMBER, "1e999", "必须是数字"),
    (NUMBER, "NaN", "必须是数字"),
    (NUMBER, "0x10", "必须是数字"),
    (BOOLEAN, "True", "必须是布尔值"),
    (BOOLEAN, "1", "必须是布尔值"),
    (INTEGERS, "a", "必须是整数"),
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("schema", "text", "value"), VALID)
def test_valid_text_becomes_a_value(place: str, schema: dict[str, Any], text: str, value: Any) -> None:
    assert send(serving(place, schema), place, text)[:2] == (200, {"got": value})


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("schema", "text", "reason"), INVALID)
def test_invalid_text_is_refused(place: str, schema: dict[str, Any], text: str, reason: str) -> None:
    sent = quote(text) if place != "header" else text
    name = "X-Thing" if place == "header" else "thing"
    refused = send(serving(place, schema), place, sent)
    assert refused[:2] == (400, {"code": 400, "msg": f"参数错误: {name}: {reason}"})


def test_problem_details_name_the_parameter() -> None:
    application = serving("query", INTEGER)
    refused = application.ask("GET", "/things?thing=a", headers=[(b"accept", b"application/problem+json")])
    assert refused.body["errors"] == [{"parameter": "thing", "detail": "必须是整数"}]


@pytest.mark.parametrize(
    ("place", "more", "fields", "value"),
    [
        ("path", {}, ["1,2"], [1, 2]),
        ("header", {}, ["1, 2"], [1, 2]),
        ("header", {}, ["1", "2,3"], [1, 2, 3]),
        ("query", {}, ["1", "2"], [1, 2]),
        ("query", {"explode": False}, ["1,2"], [1, 2]),
    ],
)
def test_array_is_read_by_its_style(place: str, more: dict[str, Any], fields: list[str], value: list[int]) -> None:
    assert send(serving(place, INTEGERS, **more), place, *fields)[:2] == (200, {"got": value})


@pytest.mark.parametrize(
    ("place", "more", "fields"),
    [
        ("query", {}, ["1,2"]),
        ("query", {"explode": False}, ["1", "2"]),
        ("query", {}, ["1", "1"]),
        ("path", {}, ["1,2,3,4"]),
        ("header", {}, ["1,,2"]),
    ],
)
def test_array_of_another_style_is_refused(place: str, more: dict[str, Any], fields: list[str]) -> None:
    assert send(serving(place, INTEGERS, **more), place, *fields).status == 400


def test_escaped_comma_is_part_of_an_element() -> None:
    texts = {"type": "array", "items": STRING}
    assert send(serving("path", texts), "path", "a%2Cb,c").body == {"got": ["a,b", "c"]}
    assert send(serving("query", texts, explode=False), "query", "a%2Cb,c").body == {"got": ["a,b", "c"]}


@pytest.mark.parametrize("place", ["query", "header"])
def test_scalar_sent_twice_is_refused(place: str) -> None:
    assert send(serving(place, STRING, required=True), place, "a", "b").body["msg"].endswith("不能重复")


@pytest.mark.parametrize("place", ["query", "header"])
def test_missing_parameter_is_refused_or_defaulted(place: str) -> None:
    name = "X-Thing" if place == "header" else "thing"
    required = serving(place, INTEGER, required=True).ask("GET", "/things")
    assert required[:2] == (400, {"code": 400, "msg": f"参数错误: {name}: 缺少该参数"})
    assert serving(place, INTEGER).ask("GET", "/things").body == {"got": None}
    assert serving(place, {**INTEGER, "default": 7}).ask("GET", "/things").body == {"got": 7}


def test_any_text_survives_its_encoding() -> None:
    path, query = serving("path", STRING), serving("query", STRING)

    @settings(deadline=None)
    @given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/"), min_size=1))
    def survives(text: str) -> None:
        encoded = quote(text, safe="")
        assert send(path, "path", encoded).body == {"got": text}
        assert send(query, "query", encoded).body == {"got": text}

    survives()


@pytest.mark.parametrize("place", ["path", "query"])
def test_bad_utf_8_is_refused(place: str) -> None:
    refused = send(serving(place, STRING), place, "%ff")
    assert refused[:2] == (400, {"code": 400, "msg": "参数错误: thing: 不是有效的 UTF-8"})


def test_query_of_too_many_fields_is_refused() -> None:
    application = serving("query", STRING)
    assert application.ask("GET", "/things?" + "&".join(["a=1"] * MAX_QUERY_FIELDS)).status == 200
    assert application.ask("GET", "/things?" + "&".join(["a=1"] * (MAX_QUERY_FIELDS + 1))).status == 400


def test_unknown_query_field_is_ignored() -> None:
    assert serving("query", STRING).ask("GET", "/things?other=%ff&thing=a").body == {"got": "a"}


def test_parameter_without_an_argument_is_checked() -> None:
    async def no_arguments() -> Any:
        return {}

    application = serve(contract(parameters=[parameter("query", INTEGER)]), handle=no_arguments)
    assert application.ask("GET", "/things?thing=1").status == 200
    assert application.ask("GET", "/things?thing=a").status == 400


def test_parameter_of_the_whole_path_counts_once() -> None:
    described = contract(parameters=[parameter("path", INTEGER)])
    item = described["paths"]["/things/{thing}"]
    item["parameters"] = item["get"].pop("parameters")
    application = serve(described, handle=handle)
    assert application.ask("GET", "/things/1").body == {"got": 1}


@pytest.mark.parametrize(
    ("declared", "named"),
    [
        (parameter("cookie", STRING), "cookie"),
        (parameter("query", STRING, style="spaceDelimited"), "spaceDelimited"),
        (parameter("query", {"type": "object"}, style="deepObject"), "deepObject"),
        (parameter("path", STRING, style="matrix"), "matrix"),
        (parameter("query", {"type": "object"}), "type must be"),
        (parameter("query", {"type": "array", "items": {"type": "array", "items": STRING}}), "type must be"),
        (parameter("query", {}), "type must be"),
        (parameter("query", STRING, allowEmptyValue=True), "allowEmptyValue"),
        (parameter("query", STRING, allowReserved=True), "allowReserved"),
    ],
)
def test_unsupported_parameter_ends_the_start(declared: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"(?s)parameter 'thing'.*{named}"):
        serve(contract(parameters=[declared]), handle=handle)


def test_content_of_a_parameter_is_refused() -> None:
    declared = {"name": "thing", "in": "query", "content": {"application/json": {"schema": STRING}}}
    with pytest.raises(ValueError, match="content"):
        serve(contract(parameters=[declared]), handle=handle)
