"""Which operation a path leads to, and what a handler may answer."""

from typing import Any

import pytest

from tests.gateway_svc.contract.support import contract, parameter, serve

ANY = {"type": "string"}


def thing(path: str, operation_id: str) -> tuple[str, Any]:
    names = [segment[1:-1] for segment in path.split("/") if segment.startswith("{")]
    parameters = [{"name": name, "in": "path", "required": True, "schema": ANY} for name in names]
    responses = {"200": {"description": "Done."}}
    return path, {"get": {"operationId": operation_id, "parameters": parameters, "responses": responses}}


def handler(name: str) -> Any:
    async def handle() -> str:
        return name

    return handle


PATHS = ["/things", "/things/{id}", "/things/new", "/things/{id}/parts/{part}", "/things/new/parts/{part}"]


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/things", "/things"),
        ("/things/1", "/things/{id}"),
        ("/things/new", "/things/new"),
        ("/things/%6eew", "/things/new"),
        ("/things/a%2Fb", "/things/{id}"),
        ("/things/1/parts/2", "/things/{id}/parts/{part}"),
        ("/things/new/parts/2", "/things/new/parts/{part}"),
        ("/things/1/p%61rts/2", "/things/{id}/parts/{part}"),
        ("/things%2F1", None),
        ("/things%2fnew", None),
        ("/things/1%2Fparts%2F2", "/things/{id}"),
        ("/things/", None),
        ("/things/1/parts/", None),
        ("/things//parts/2", None),
        ("/things/1/parts", None),
        ("/thing/1", None),
    ],
)
def test_path_leads_to_the_most_specific_route(path: str, leads_to: str | None) -> None:
    described = {**contract(), "paths": dict(thing(each, f"op{index}") for index, each in enumerate(PATHS))}
    application = serve(described, **{f"op{index}": handler(each) for index, each in enumerate(PATHS)})
    answer = application.ask("GET", path)
    assert (answer.body if answer.status == 200 else None) == leads_to


def test_method_that_is_not_listed_is_refused() -> None:
    application = serve(contract(parameters=[parameter("path", ANY)]), handle=handler("x"))
    refused = application.ask("PUT", "/things/1")
    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert application.ask("OPTIONS", "/things/1").status == 204


def test_handler_answers_with_status_and_headers() -> None:
    async def handle() -> Any:
        return {"id": 1}, 201, {"Location": "/things/1"}

    answer = serve(contract(), handle=handle).ask("GET", "/things")
    assert answer[:2] == (201, {"id": 1})
    assert answer.headers["location"] == "/things/1"


def test_identity_reaches_the_handler() -> None:
    async def handle(identity: str) -> Any:
        return {"who": identity}

    described = contract(security=[{"token": []}])
    assert serve(described, handle=handle).ask("GET", "/things").status == 401
    known = serve(described, handle=handle, authenticate=lambda headers: dict(headers)[b"authorization"].decode())
    assert known.ask("GET", "/things", headers=[(b"authorization", b"me")])[:2] == (200, {"who": "me"})


@pytest.mark.parametrize(
    "security", [[{"token": []}, {}], [{"token": ["admin"]}], [{"other": []}], [{"token": [], "other": []}]], ids=str
)
def test_unsupported_security_ends_the_start(security: Any) -> None:
    with pytest.raises(ValueError, match="GET /things: the gateway supports"):
        serve(contract(security=security), handle=handler("x"))


def test_argument_unknown_to_the_contract_is_refused() -> None:
    async def handle(page: int) -> Any:
        return page

    with pytest.raises(ValueError, match="GET /things: its handler takes page"):
        serve(contract(), handle=handle)


@pytest.mark.parametrize("path", ["/things/{id}.json", "/things/x{id}"])
def test_parameter_within_a_segment_is_refused(path: str) -> None:
    described = {**contract(), "paths": dict([thing(path, "handle")])}
    with pytest.raises(ValueError, match="whole segment"):
        serve(described, handle=handler("x"))


def test_undeclared_path_parameter_is_refused() -> None:
    described = contract()
    described["paths"]["/things/{id}"] = described["paths"].pop("/things")
    with pytest.raises(ValueError, match="those in its braces"):
        serve(described, handle=handler("x"))
