"""The README says what is so."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from gateway_svc.config import GatewaySettings
from run.config import RunSettings
from service_kit.settings import ServiceSettings, TracingSettings
from tests.support.platform import Platform
from tests.support.process import ROOT
from user_svc.config import UserSettings

README = (ROOT / "README.md").read_text(encoding="utf-8")
TRACING = (ROOT / "docs" / "tracing.md").read_text(encoding="utf-8")


def rows(header: str, page: str = README) -> list[list[str]]:
    """Return the cells of the table that begins with this header."""
    table = page.split(f"{header}\n", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def default(field: FieldInfo) -> str:
    """Return a default as the README writes it."""
    if field.is_required():
        return "required"
    value: Any = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    return "" if value in (None, "", ()) else f"`{value}`"


def settings_of(kind: type[ServiceSettings]) -> dict[str, str]:
    fields = kind.model_fields
    own = {name for name in fields if not (name.endswith("_file") and name.removesuffix("_file") in fields)}
    return {name.upper(): default(field) for name, field in fields.items() if name in own}


TRACING_VARIABLES = settings_of(TracingSettings)


@pytest.mark.parametrize(("service", "kind"), [("user_svc", UserSettings), ("gateway_svc", GatewaySettings)])
def test_each_variable_of_a_service_is_there_with_its_default(service: str, kind: type[ServiceSettings]) -> None:
    documented = {
        name.strip("`"): value
        for name, reader, value, meaning in rows("| variable | read by | default | meaning |")
        if reader in {service, "both"} and meaning
    }
    assert documented == {name: value for name, value in settings_of(kind).items() if name not in TRACING_VARIABLES}


def test_each_variable_of_tracing_is_on_its_page_with_its_default() -> None:
    documented = {name.strip("`"): value for name, value, meaning in rows("| variable | default | meaning |", TRACING)}
    assert documented == TRACING_VARIABLES


def test_each_variable_of_make_run_is_there_with_its_default() -> None:
    own = {name.strip("`"): value for name, value, _ in rows("| variable | default | meaning |")}
    passed_on = settings_of(UserSettings) | settings_of(GatewaySettings)
    assert own == {
        name: value for name, value in settings_of(RunSettings).items() if name in own or name not in passed_on
    }


def test_the_lines_to_try_get_the_answers_that_are_shown(platform: Platform) -> None:
    shown = re.search(r"```console\n(\$ curl .*?)```", README, re.DOTALL)
    assert shown
    lines = shown[1].replace("http://127.0.0.1:8080", platform.url).splitlines()
    token = ""
    for typed, expected in zip(lines[::2], lines[1::2], strict=True):
        command = typed.removeprefix("$ ").replace("<the token>", token)
        answer = subprocess.run(f"{command} -sS", shell=True, capture_output=True, text=True, check=True).stdout
        if found := re.search(r'"token":"([^"]+)"', answer):
            token = found[1]
        assert answer == expected.replace("<the token>", token)


def test_each_file_and_target_that_is_named_is_there() -> None:
    folders = [part for cells in rows("| folder | what |") for part in re.findall(r"`([^`]+)`", cells[0])]
    assert {str(path.name) for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))} == {
        folder.rstrip("/") for folder in folders
    }
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
    helped = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = {line.split()[0] for line in helped.splitlines() if line}
    assert set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", README, re.MULTILINE)) <= targets
    assert Path(ROOT / ".ci/run").exists()
