"""The generated files are those that their sources make."""

from monitoring.generate import dashboard_files, rule_files, texts, threshold_files


def test_generated_files_are_up_to_date() -> None:
    found = {path: path.read_text(encoding="utf-8") for path in (*rule_files(), *threshold_files(), *dashboard_files())}
    assert found == texts(), "run `make monitoring`"
