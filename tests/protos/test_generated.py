"""The generated code that is committed is what `make protos` makes of the contract."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path("protos/user/v1")


def test_generated_code_has_not_drifted(tmp_path: Path) -> None:
    # DEV is what the target installs first: here the running Python has it all
    subprocess.run(
        ["make", "--silent", "protos", f"OUT={tmp_path}", "DEV=", f"PY={sys.executable}"],
        cwd=ROOT,
        check=True,
        timeout=60,
    )
    fresh = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / PACKAGE).iterdir()}
    committed = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / PACKAGE).glob("*_pb2*.py*")}
    assert fresh == committed, "run make protos"
