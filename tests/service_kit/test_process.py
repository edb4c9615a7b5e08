"""What every process of this project does at its start and its end."""

import signal
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


STOPS = """
import os, signal, sys

from service_kit.process import StopSignal

for number in [signal.SIGTERM, signal.SIGINT] * 150:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        stop = StopSignal()
        os.write(writing, b".")
        stop.wait()
        os._exit(0)
    os.read(reading, 1)
    os.kill(child, number)  # at about the moment in which the wait begins
    assert os.waitpid(child, 0)[1] == 0, number
    os.close(reading)
    os.close(writing)
"""

STOPPED_TWICE = """
import signal, threading

from service_kit.process import StopSignal

stop = StopSignal()
other = threading.Thread(target=threading.Event().wait, daemon=True)
other.start()
signal.pthread_kill(other.ident, signal.SIGTERM)  # as the kernel may do while the main thread has a signal to handle
stop.wait()
threading.Timer(0.2, signal.pthread_kill, (other.ident, signal.SIGTERM)).start()
threading.Event().wait()
"""


def run(program: str) -> int:
    return subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": str(ROOT)}, timeout=60).returncode


def test_no_signal_to_stop_is_missed() -> None:
    assert run(STOPS) == 0


def test_a_second_signal_interrupts_any_wait() -> None:
    assert run(STOPPED_TWICE) == 128 + signal.SIGTERM
