"""Processes that hang: they keep their sockets and answer nothing."""

import os
import signal
import subprocess


def suspend(child: "subprocess.Popen[bytes] | subprocess.Popen[str]") -> None:
    """Send SIGSTOP, and wait until it is carried out: a process answers for some moments more."""
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)


def resume(child: "subprocess.Popen[bytes] | subprocess.Popen[str]") -> None:
    """Send SIGCONT."""
    child.send_signal(signal.SIGCONT)
