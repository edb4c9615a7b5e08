"""The README says what is so."""

import re
import subprocess

from tests.support.platform import Platform
from tests.support.process import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_commands_print_the_shown_answers(platform: Platform) -> None:
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
