"""The rules come from the contract: another contract has other rules, and one that cannot be kept is refused."""

import copy
import json
from collections.abc import Callable
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from connexion.exceptions import ResolverError
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_svc import app, metrics
from gateway_svc.authentication import Authentication
from gateway_svc.contract.body import Body
from gateway_svc.handlers import Handlers
from gateway_svc.health import Health
from gateway_svc.problems import Problem
from gateway_svc.revocations import Revocations
from gateway_svc.throttling import Throttle
from gateway_svc.tokens import AccessTokens, DeviceTokens, Keys, RefreshTokens
from gateway_svc.users_client import UsersClient
from protos.user.v1.contract import is_bcrypt_password
from service_kit.settings import ThrottleMode
from service_kit.telemetry.access_log import AccessLog
from tests.gateway_svc.contract.support import Application

CONTRACT: dict[str, Any] = yaml.safe_load(app.CONTRACT.read_text(encoding="utf-8"))
CREDENTIALS: dict[str, Any] = CONTRACT["components"]["schemas"]["Credentials"]

Change = Callable[[dict[str, Any]], object]


def changed(change: Change) -> dict[str, Any]:
    contract = copy.deepcopy(CONTRACT)
    change(contract)
    return contract


def call(contract: dict[str, Any], method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
    """Build the application for `contract` and answer one request with it."""
    keys, revocations = Keys("x" * 32), Revocations()
    tokens = AccessTokens(keys, issuer="us", audience="us", is_revoked=revocations.is_revoked)
    application = app.serve(
        contract,
        Handlers(
            UsersClient(), tokens, RefreshTokens(keys), DeviceTokens(keys), revocations, Throttle(ThrottleMode.OFF)
        ),
        authenticate=Authentication(tokens).identify,
        health=Health(),
        body_timeout=1,
        access_log=AccessLog("test", "request", 0),
    )
    return Application(application).ask(method, path, body)[:2]


def test_a_looser_rule_lets_more_through() -> None:
    def change(contract: dict[str, Any]) -> None:
        contract["components"]["schemas"]["Credentials"]["properties"]["username"] = {"type": "string", "maxLength": 99}

    body = b'{"username":"!","password":"password123"}'
    assert call(CONTRACT, "POST", "/api/login", body)[0] == 400
    # which is what a gateway that has found no user service answers
    assert call(changed(change), "POST", "/api/login", body)[0] == 503


def test_a_stricter_rule_has_its_reason() -> None:
    def change(contract: dict[str, Any]) -> None:
        field = contract["components"]["schemas"]["Credentials"]["properties"]["password"]
        field |= {"pattern": "[0-9]", "x-pattern-reason": "需要数字"}

    body = b'{"username":"abc","password":"password"}'
    status, answer = call(changed(change), "POST", "/api/login", body)
    assert (status, answer["msg"]) == (400, "参数错误: password: 需要数字")


def test_paths_and_security_come_from_the_contract() -> None:
    def change(contract: dict[str, Any]) -> None:
        contract["paths"]["/pong"] = contract["paths"].pop("/ping")
        del contract["paths"]["/pong"]["get"]["security"]
        contract["security"] = [{"token": []}]

    assert call(changed(change), "GET", "/ping")[0] == 404
    assert call(changed(change), "GET", "/pong")[0] == 401


def test_a_server_url_moves_all_paths() -> None:
    moved = changed(lambda contract: contract.update(servers=[{"url": "https://example.org/v1"}]))
    assert call(moved, "GET", "/v1/ping") == (200, {"message": "pong"})
    assert call(moved, "GET", "/ping")[0] == 404


PING = ("paths", "/ping", "get")
REGISTER = ("paths", "/api/register", "post")
BODY = ("components", "requestBodies", "Credentials")
USERNAME = ("components", "schemas", "Credentials", "properties", "username")


def put(*where: str, **values: Any) -> Change:
    def change(contract: dict[str, Any]) -> None:
        for step in where:
            contract = contract[step]
        contract.update(values)

    return change


@pytest.mark.parametrize(
    "change",
    [
        put("paths", **{"/users/{id}": CONTRACT["paths"]["/ping"]}),
        put(*BODY, required=False),
        put(*BODY, content={"text/plain": {"schema": {"type": "string"}}}),
        put(*BODY, content={**CONTRACT["components"]["requestBodies"]["Credentials"]["content"], "text/plain": {}}),
        put(*USERNAME, format="phone-number"),
        put(*USERNAME, pattern="("),
        put(*USERNAME, pattern="(?=x)"),
    ],
)
def test_a_contract_that_cannot_be_kept_is_refused(change: Change) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # some are raised by the validator
        call(changed(change), "GET", "/ping")


def test_an_operation_without_a_handler_is_refused() -> None:
    with pytest.raises(ResolverError):
        call(changed(put(*PING, operationId="nobody")), "GET", "/ping")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.dictionaries(
    st.sampled_from(["username", "password", "x"]),
    st.from_regex(r"[A-Za-z0-9_é]{2,21}", fullmatch=True) | st.text(min_size=5, max_size=33) | JSON,
    max_size=3,
)


@settings(max_examples=300, deadline=None)
@given(FIELDS | JSON)
def test_it_decides_as_connexions_own_validator_does(value: Any) -> None:
    try:
        text = json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # lone surrogates never come as far
        return
    formats = jsonschema.FormatChecker(formats=())
    formats.checks("bcrypt-password")(lambda text: not isinstance(text, str) or is_bcrypt_password(text))
    schema = copy.deepcopy(CREDENTIALS)
    schema["properties"]["username"]["pattern"] = r"\A[A-Za-z0-9_]+\Z"  # Python's $ lets a newline pass
    expected = jsonschema.Draft4Validator(schema, format_checker=formats).is_valid(value)
    validator = Body(CREDENTIALS, "", timeout=1)
    if expected:
        assert validator.validate(text) == value
    else:
        with pytest.raises(Problem, match="参数错误: "):
            validator.validate(text)


def test_the_series_of_operations_exist_from_the_start() -> None:
    call(CONTRACT, "GET", "/ping")
    assert {("GET", "/ping"), ("POST", "/api/login")} <= metrics.requests._durations.keys()
