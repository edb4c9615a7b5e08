"""A service, one of whose threads ends at SIGUSR1: the file `ending` names it, or the function that it runs.

`python -m tests.support.mortal user_svc` runs the user service.
"""

import ctypes
import importlib
import os
import signal
import sys
import threading
from pathlib import Path

from tests.support.process import Process


def end_thread(process: Process, name: str) -> None:
    """End a thread of a process that runs this module."""
    (process.cwd / "ending").write_text(name)
    os.kill(process.pid, signal.SIGUSR1)


def _end_thread(*_: object) -> None:
    name = Path("ending").read_text(encoding="utf-8")
    for thread in threading.enumerate():
        if thread.name == name or thread.name.endswith(f"({name})"):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))


if __name__ == "__main__":
    service = importlib.import_module(f"{sys.argv.pop(1)}.__main__")
    signal.signal(signal.SIGUSR1, _end_thread)
    sys.exit(service.main())
