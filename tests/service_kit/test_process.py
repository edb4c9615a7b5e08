"""What every process of this project does at its start and its end."""

import subprocess
import sys

import pytest

from tests.support.process import ROOT

GRPC_IMPORT = """
import importlib, os, sys

class Finder:
    def find_spec(self, name, *_):
        if name == "grpc":
            print(os.environ.get("GRPC_VERBOSITY"))

sys.meta_path.insert(0, Finder())
importlib.import_module(sys.argv[1] + ".__main__")
"""


@pytest.mark.parametrize("package", ["etcd_auth", "gateway_svc", "user_svc"])
def test_grpc_is_silenced_before_its_import(package: str) -> None:
    """Its core reads the variable then; what it would write is not JSON."""
    command = [sys.executable, "-c", GRPC_IMPORT, package]
    env = {"PYTHONPATH": str(ROOT)}
    assert subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout == "NONE\n"
