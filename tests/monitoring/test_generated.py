"""The generated files are those that their sources make."""

from monitoring.generate import FOLDER, texts


def test_generated_files_are_up_to_date() -> None:
    found = {path: path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.*")}
    assert found == texts(), "run `make monitoring`"
