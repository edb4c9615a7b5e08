"""The contract itself: valid, complete, and no more than what the gateway can keep."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest
import yaml
from connexion.spec import Specification

from gateway_svc import app
from gateway_svc.contract import schema as schemas

CONTRACT: dict[str, Any] = yaml.safe_load(app.CONTRACT.read_text(encoding="utf-8"))
RESOLVED: dict[str, Any] = Specification.load(app.CONTRACT).spec  # type: ignore[no-untyped-call]
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, item in RESOLVED["paths"].items()
    for method, operation in item.items()
}
BODY_ERRORS = {"400", "408", "413", "415", "503"}
ALONE = {"GET /ping", "GET /api/profile", "GET /.well-known/jwks.json"}
"""Operations that the gateway answers without another service."""
OWN_ERRORS = {
    "POST /api/login": {"401", "429"},
    "POST /api/register": {"409", "429"},
    "PUT /api/password": {"403", "429"},
    "POST /api/account/delete": {"403", "429"},
    "POST /api/sessions": {"401", "403", "429"},
    "POST /api/sessions/refresh": {"401", "429"},
    "POST /api/sessions/end": {"401", "429"},
    "DELETE /api/sessions/{session_id}": {"400", "404"},
}


ANSWERS = {
    f"{name} {status}": answer
    for name, operation in OPERATIONS.items()
    for status, answer in operation["responses"].items()
}


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for branch in tree:
            yield from nodes(branch)


def check(schema: dict[str, Any], value: Any) -> None:
    formats = {name: rule for name, (rule, _) in schemas.FORMATS.items()}
    jsonschema_rs.Draft4Validator(schema, formats=formats, validate_formats=True).validate(value)


def test_it_is_openapi_3_0() -> None:
    assert CONTRACT["openapi"].startswith("3.0.")
    assert set(OPERATIONS) == {
        "GET /ping",
        "POST /api/register",
        "POST /api/login",
        "GET /api/profile",
        "PUT /api/password",
        "POST /api/account/delete",
        "POST /api/sessions",
        "GET /api/sessions",
        "DELETE /api/sessions/{session_id}",
        "POST /api/sessions/refresh",
        "POST /api/sessions/end",
        "POST /api/logout",
        "POST /api/logout/all",
        "GET /.well-known/jwks.json",
    }


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_tells_its_errors(name: str) -> None:
    operation = OPERATIONS[name]
    expected = {"200", "500"}
    if "requestBody" in operation:
        expected |= BODY_ERRORS
    if operation["security"]:
        expected |= {"401"}
    if name not in ALONE:
        expected |= {"503"}
    expected |= OWN_ERRORS.get(name, set())
    assert set(operation["responses"]) == expected


@pytest.mark.parametrize("name", ANSWERS)
def test_each_answer_has_examples_that_fit(name: str) -> None:
    answer = ANSWERS[name]
    status = int(name.rpartition(" ")[2])
    types = {"application/json"} if status == 200 else {"application/json", "application/problem+json"}
    assert set(answer["content"]) == types
    assert "X-Trace-ID" in answer["headers"]
    assert ("WWW-Authenticate" in answer["headers"]) == (status == 401)
    for content in answer["content"].values():
        examples = [example["value"] for example in content.get("examples", {}).values()]
        examples += [content["example"]] if "example" in content else []
        assert examples
        for example in examples:
            check(content["schema"], example)
            assert example.get("code", example.get("status", status)) == status


def test_the_examples_of_bodies_fit() -> None:
    for body in RESOLVED["components"]["requestBodies"].values():
        content = body["content"]["application/json"]
        check(content["schema"], content["example"])


def test_every_object_is_closed_and_every_text_bounded() -> None:
    for schema in nodes(CONTRACT["components"]["schemas"]):
        if schema.get("type") == "object":
            assert schema["additionalProperties"] is False
            assert schema["required"]
        if schema.get("type") == "string" and "format" not in schema and "description" not in schema:
            assert "enum" in schema or "maxLength" in schema
    credentials = RESOLVED["components"]["schemas"]["Credentials"]
    assert credentials["required"] == ["username", "password"]
    for field in credentials["properties"].values():
        assert {"minLength", "maxLength"} <= field.keys()


def test_it_is_served_as_it_is_written(client: httpx.Client) -> None:
    answer = client.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    # Relative to the document, so that it holds behind a proxy that strips a prefix.
    assert answer.json() == json.loads(json.dumps({**CONTRACT, "servers": [{"url": "."}]}))
