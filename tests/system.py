"""A system that refuses access to files: real refusals by the kernel of Linux."""

import ctypes
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

# System calls on x86-64.
FLOCK, PREAD64 = 73, 17
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 38, 22  # from linux/prctl.h
_CAPABILITY_VERSION = 0x20080522  # from linux/capability.h
_LOAD, _JUMP_IF_EQUAL, _RETURN, _ERRNO, _ALLOW = (
    0x20,
    0x15,
    0x06,
    0x00050000,
    0x7FFF0000,
)  # from linux/{filter,seccomp}.h


class _Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint32)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction))]


def fail_system_call(number: int, error: int) -> None:
    """Let the kernel answer a system call of this thread with an error, from now on."""
    instructions = (_Instruction * 4)(
        _Instruction(_LOAD, 0, 0, 0),
        _Instruction(_JUMP_IF_EQUAL, 0, 1, number),
        _Instruction(_RETURN, 0, 0, _ERRNO | error),
        _Instruction(_RETURN, 0, 0, _ALLOW),
    )
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(_PR_SET_SECCOMP, 2, ctypes.byref(_Program(4, instructions)), 0, 0):
        raise OSError(ctypes.get_errno(), "no seccomp filter")


def obey_permissions() -> None:
    """Make this thread obey the permissions of files even if it runs as root: drop its capabilities."""
    header, none = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(header, none):
        raise OSError(ctypes.get_errno(), "capabilities cannot be dropped")


def in_thread(action: Callable[[], object]) -> object:
    """Run ``action`` in a thread of its own, to which the two above are limited; gives its result."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(action).result()


def after(statements: str) -> list[str]:
    """The beginning of a command line: its process runs ``statements``, then the command that follows."""
    return [sys.executable, "-c", f"import os, sys; {statements}; os.execv(sys.argv[1], sys.argv[1:])"]
