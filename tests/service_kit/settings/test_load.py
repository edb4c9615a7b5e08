"""Where settings come from and what is said when they are wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator

from service_kit.settings import InvalidSettingsError, ServiceSettings, load

CANARY = "c4n4ry-s3cr3t"


class Example(ServiceSettings):
    """One field of each kind."""

    token: SecretStr
    port: int = Field(default=1, ge=0, le=65535)
    name: str = "default"
    members: tuple[str, ...] = ()

    @field_validator("name")
    @classmethod
    def _no_spaces(cls, value: str) -> str:
        if " " in value:
            raise ValueError("must have no spaces")
        return value

    @model_validator(mode="after")
    def _port_fits_name(self) -> "Example":
        if self.name == "web" and self.port == 22:
            raise ValueError("PORT 22 does not go with NAME web")
        return self


@pytest.fixture(autouse=True)
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder and an environment without the example's variables."""
    monkeypatch.chdir(tmp_path)
    for field in Example.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)
        monkeypatch.delenv(f"{field.upper()}_FILE", raising=False)
    return tmp_path


def problems() -> list[str]:
    with pytest.raises(InvalidSettingsError) as raised:
        load(Example)
    assert str(raised.value) == "; ".join(raised.value.problems)
    return raised.value.problems


def test_the_environment_sets_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", CANARY)
    monkeypatch.setenv("PORT", "8080")
    loaded = load(Example)
    assert (loaded.token.get_secret_value(), loaded.port, loaded.name) == (CANARY, 8080, "default")
    assert CANARY not in repr(loaded)


def test_dotenv_sets_what_the_environment_does_not(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (room / ".env").write_text("# a comment\nTOKEN='of the file'\nexport NAME=file\nPORT=1\n", encoding="utf-8")
    monkeypatch.setenv("PORT", "2")
    loaded = load(Example)
    assert (loaded.token.get_secret_value(), loaded.port, loaded.name) == ("of the file", 2, "file")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("TOKEN='aaaa${HOMEX}bbbb'", "aaaa${HOMEX}bbbb"),
        ("export TOKEN = 'aaaa${NAME}bbbb$NAME' # a comment", "aaaa${NAME}bbbb$NAME"),
        ("TOKEN='it\\'s ${NAME:-x}\\\\'", "it's ${NAME:-x}\\"),
        ("TOKEN='two\nlines ${NAME}'", "two\nlines ${NAME}"),
        ("TOKEN=a${NAME}b$NAME", "afileb$NAME"),
        ('TOKEN="a${NAME}b$NAME"', "afileb$NAME"),
        ("TOKEN=a${HOMEX:-default}b", "adefaultb"),
        ("TOKEN=a${HOMEX}b", "ab"),
        ("TOKEN=a'${NAME}'", "a'file'"),
        ("OTHER='x${NAME}'\nTOKEN=${OTHER}", "x${NAME}"),
    ],
)
def test_dollars_in_a_dotenv(room: Path, monkeypatch: pytest.MonkeyPatch, line: str, value: str) -> None:
    monkeypatch.delenv("HOMEX", raising=False)
    (room / ".env").write_text(f"NAME=file\n{line}\n", encoding="utf-8")
    assert load(Example).token.get_secret_value() == value


def test_a_file_named_in_single_quotes(room: Path) -> None:
    (room / "a${NAME}").write_text(CANARY, encoding="utf-8")
    (room / ".env").write_text("NAME=file\nTOKEN_FILE='a${NAME}'\n", encoding="utf-8")
    assert load(Example).token.get_secret_value() == CANARY


def test_dotenv_may_contain_unknown_names(room: Path) -> None:
    (room / ".env").write_text("TOKEN=x\nMYSQL_ROOT_PASSWORD=y\nSERVER_MODE=release\n", encoding="utf-8")
    assert load(Example).token.get_secret_value() == "x"


def test_empty_counts_as_not_set(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (room / ".env").write_text("TOKEN=x\nNAME=\n", encoding="utf-8")
    monkeypatch.setenv("PORT", "")
    monkeypatch.setenv("TOKEN", "")
    monkeypatch.setenv("NAME_FILE", "")
    assert load(Example) == Example(token=SecretStr("x"))


def test_a_mounted_file_sets_a_field(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (room / "token").write_text(f"{CANARY} \n", encoding="utf-8")
    monkeypatch.setenv("TOKEN_FILE", str(room / "token"))
    assert load(Example).token.get_secret_value() == f"{CANARY} "


def test_a_dotenv_can_name_a_mounted_file(room: Path) -> None:
    (room / "port").write_text("17\r\n", encoding="utf-8")
    (room / ".env").write_text("TOKEN=x\nPORT_FILE=port\n", encoding="utf-8")
    assert load(Example).port == 17


def test_the_environment_comes_before_dotenv_with_files_too(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (room / "token").write_text("mounted", encoding="utf-8")
    (room / ".env").write_text("TOKEN=x\nNAME_FILE=no-such-file\n", encoding="utf-8")
    monkeypatch.setenv("TOKEN_FILE", "token")
    monkeypatch.setenv("NAME", "environment")
    loaded = load(Example)
    assert (loaded.token.get_secret_value(), loaded.name) == ("mounted", "environment")


def test_all_problems_are_reported_without_values(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", CANARY)
    monkeypatch.setenv("NAME", f"{CANARY} x")
    monkeypatch.setenv("MEMBERS_FILE", str(room / CANARY))
    assert sorted(problems()) == [
        "MEMBERS_FILE names a file that cannot be read: No such file or directory",
        "NAME: must have no spaces",
        "PORT: input should be a valid integer, unable to parse string as an integer",
        "TOKEN is not set",
    ]


def test_uncaught_errors_show_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", CANARY)
    with pytest.raises(ValidationError) as raised:
        Example()  # type: ignore[call-arg]
    assert CANARY not in str(raised.value)


def test_a_problem_across_fields_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "x")
    monkeypatch.setenv("PORT", "22")
    monkeypatch.setenv("NAME", "web")
    assert problems() == ["PORT 22 does not go with NAME web"]


@pytest.mark.parametrize(
    ("content", "reason"), [(b"\xff", "cannot be read: not UTF-8"), (b"", "an empty file"), (b"\n", "an empty file")]
)
def test_a_mounted_file_that_is_of_no_use(
    room: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, reason: str
) -> None:
    (room / "token").write_bytes(content)
    monkeypatch.setenv("TOKEN_FILE", "token")
    (problem,) = problems()
    assert problem.startswith("TOKEN_FILE names ")
    assert problem.endswith(reason)


def test_both_a_value_and_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", CANARY)
    monkeypatch.setenv("TOKEN_FILE", "token")
    assert problems() == ["TOKEN and TOKEN_FILE are both set; keep one of them"]


def test_malformed_multi_part_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "x")
    monkeypatch.setenv("MEMBERS", f"[{CANARY}")
    (problem,) = problems()
    assert "members" in problem
    assert CANARY not in problem


def test_a_dotenv_that_cannot_be_read(room: Path) -> None:
    (room / ".env").write_bytes(b"TOKEN=\xff\n")
    assert problems() == [".env cannot be read: not UTF-8"]


def test_a_service_that_cannot_start_exits_with_2(room: Path) -> None:
    example = "from tests.service_kit.settings.test_load import Example"
    program = f"{example}; from service_kit.settings import load_or_exit; load_or_exit(Example)"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "PORT": CANARY},
        capture_output=True,
        text=True,
        check=False,
        cwd=room,
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "error: TOKEN is not set",
        "error: PORT: input should be a valid integer, unable to parse string as an integer",
    ]
    assert ended.stdout == ""
