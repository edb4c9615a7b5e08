"""Network namespaces and machines without IPv6, for as long as a function runs on a thread of its own."""

import ctypes
import platform
import struct
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from errno import EAFNOSUPPORT
from pathlib import Path
from socket import AF_INET6

import pytest

_CLONE_NEWNET = 0x40000000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_SOCKET_CALL = {"x86_64": 41, "aarch64": 198}

_libc = ctypes.CDLL(None, use_errno=True)


def in_namespace(function: Callable[[], None], *, ipv4: bool = True, ipv6: bool = True) -> None:
    """Run `function`, with the processes that it starts, in a network namespace that has loopback alone."""

    def run() -> None:
        if _libc.unshare(_CLONE_NEWNET) != 0:
            pytest.skip("this test makes a network namespace, which takes the rights of root")
        if not ipv6:
            Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        if not ipv4:
            subprocess.run(["ip", "address", "del", "127.0.0.1/8", "dev", "lo"], check=True)
        function()

    on_a_thread(run)


def without_ipv6_sockets(function: Callable[[], None]) -> None:
    """Run `function`, with the processes that it starts, as on a kernel without IPv6: there are no such sockets."""

    class Program(ctypes.Structure):  # sock_fprog of linux/filter.h
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))

    if platform.machine() not in _SOCKET_CALL:
        pytest.skip("this test filters system calls, whose numbers it knows for x86_64 and aarch64")
    load, jump_if_equal, finish = 0x20, 0x15, 0x06
    instructions = [
        (load, 0, 0, 0),  # the call's number
        (jump_if_equal, 0, 3, _SOCKET_CALL[platform.machine()]),
        (load, 0, 0, 16),  # its first argument
        (jump_if_equal, 0, 1, AF_INET6),
        (finish, 0, 0, 0x00050000 | EAFNOSUPPORT),
        (finish, 0, 0, 0x7FFF0000),  # allowed
    ]
    packed = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in instructions))
    program = Program(len(instructions), ctypes.addressof(packed))

    def run() -> None:
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
            pytest.skip("this test filters system calls, which this kernel does not let it do")
        function()

    on_a_thread(run)


def on_a_thread(function: Callable[[], None]) -> None:
    with ThreadPoolExecutor(1) as thread:
        thread.submit(function).result()
