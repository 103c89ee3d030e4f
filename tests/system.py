"""A system that refuses access to files: real refusals by the kernel of Linux, in a child process."""

import ctypes
import os
from collections.abc import Callable

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
    """Let the kernel answer a system call of this process with an error, from now on."""
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
    """Make this process obey the permissions of files even if it runs as root: drop its capabilities."""
    header, none = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(header, none):
        raise OSError(ctypes.get_errno(), "capabilities cannot be dropped")


def in_child(action: Callable[[], str]) -> str:
    """Run ``action`` in a forked process; gives its result, or its exception as text."""
    read, write = os.pipe()
    if not (child := os.fork()):
        try:
            text = action()
        except BaseException as error:
            text = repr(error)
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    with open(read, encoding="utf-8") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text
