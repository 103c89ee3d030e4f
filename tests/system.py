"""A system that refuses access to files: real refusals by the kernel, in a child process."""

import ctypes
import os
import subprocess
import sys

from tests.conftest import ENVIRONMENT, ROOT

# System calls on x86-64.
FLOCK, PREAD64 = 73, 17
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _PR_CAPBSET_DROP = 38, 22, 24  # from linux/prctl.h
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN, _ERRNO, _ALLOW = 0x20, 0x15, 0x06, 0x00050000, 0x7FFF0000  # from linux/seccomp.h


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
    """Make the programs that this process starts obey the permissions of files even if they run as root."""
    libc = ctypes.CDLL(None)
    for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def run_refused(refusal, *command: object) -> subprocess.CompletedProcess:
    """Run a module of the project, after ``refusal`` in the same process."""
    return subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=ROOT,
        env=ENVIRONMENT,
        preexec_fn=refusal,
        capture_output=True,
        text=True,
        timeout=600,
    )


def in_child(action) -> str:
    """Run ``action`` in a forked process; gives what it returns."""
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
