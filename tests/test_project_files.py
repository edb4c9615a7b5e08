"""The project's own pages and files name parts, targets, paths and functions that exist."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from docs import configuration
from tests.support.process import ROOT

PAGES = sorted(
    {*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("charts/*/README.md"), *ROOT.glob("k8s-tests/**/*.md")}
)
ADRS = sorted((ROOT / "docs/adr").glob("*.md"))


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        leads_to = (page.parent / path).resolve() if path else page
        assert leads_to.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", leads_to.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, target


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_paths_in_a_page_exist(page: str) -> None:
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    paths = re.findall(r"`((?:\.?[\w-]+/)+[\w.-]*)`", text)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_tables_of_settings_are_generated() -> None:
    for page, text in configuration.pages().items():
        assert page.read_text(encoding="utf-8") == text, "run `make docs`"


def test_targets_in_a_page_exist() -> None:
    makefiles = [ROOT / "Makefile", *ROOT.glob("*/*.mk"), *ROOT.glob("*/*/*.mk")]
    targets = set(re.findall(r"^([a-z0-9-]+):", "\n".join(map(Path.read_text, makefiles)), re.MULTILINE))
    for page in PAGES:
        for words in re.findall(r"(?:^|`)make ((?:[a-z0-9-]+ ?)+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert set(words.split()) <= targets, name(page)


def test_architecture_lists_every_folder() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    cells = page.split("| folder |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    listed = {folder for line in cells for folder in re.findall(r"`(\w[\w-]*)`", line.split("|")[1])}
    assert listed == {
        path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "_", "dist"))
    }


def test_readme_is_at_most_150_lines() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_readme_links_every_page() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name(page) for page in ROOT.glob("docs/*.md") if f"]({name(page)})" not in readme] == []


def test_readme_lists_every_operation() -> None:
    contract = yaml.safe_load((ROOT / "openapi/openapi.yaml").read_text(encoding="utf-8"))
    operations = {f"{method.upper()} {path}" for path, item in contract["paths"].items() for method in item}
    listed = re.findall(r"^\| `([A-Z]+ /\S+)` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(operations)


def test_steps_of_a_login_name_functions_that_exist() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    steps = re.findall(r"^\| \d+\. .+ \| `([\w/.]+\.py)` \| `(\w+)(?:\.(\w+))?` \|$", page, re.MULTILINE)
    assert steps
    for file, kind, function in steps:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        classes = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
        methods = {
            each.name for each in ast.walk(classes[kind]) if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))
        }
        assert not function or function in methods, f"{file}: {kind}.{function}"


def test_decisions_are_numbered_short_and_listed() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \[(\d+)\]\(adr/([\w.-]+)\)", page, re.MULTILINE) == [
        (str(number), adr.name) for number, adr in enumerate(ADRS, 1)
    ]
    for number, adr in enumerate(ADRS, 1):
        lines = adr.read_text(encoding="utf-8").splitlines()
        assert adr.name.startswith(f"{number:04}-")
        assert lines[0].startswith(f"# {number}. ")
        assert [line for line in lines if line.startswith("## ")] == ["## Context", "## Decision", "## Consequences"]
        assert len(lines) <= 60


def test_workflow_runs_every_part_of_ci() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    parts = re.search(r"\|\| set -- (.+)", script)
    assert parts
    assert workflow["jobs"]["run"]["strategy"]["matrix"]["part"] == parts[1].split()
    assert re.findall(r"^    ([a-z0-9]+)\)", script, re.MULTILINE) == parts[1].split()
