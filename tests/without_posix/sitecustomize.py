"""Makes Python on Linux lack what Windows lacks, and refuse what Windows refuses, in this process and its children.

Python imports it first in any process that has its folder in ``PYTHONPATH``.
"""

import errno
import fcntl
import io
import multiprocessing.context
import os
import pathlib
import signal
import stat
import sys

import psutil  # noqa: F401

for module, names in (
    (os, "fork forkpty getpgid killpg nice sched_getaffinity sched_setaffinity setpgid setpgrp setsid"),
    (signal, "SIGHUP SIGUSR1 SIGUSR2 pthread_kill pthread_sigmask sigtimedwait sigwait sigwaitinfo"),
):
    for name in names.split():
        delattr(module, name)
sys.modules["resource"] = None  # importing it is an ImportError, but not in psutil, which needs it on Linux

multiprocessing.get_all_start_methods = lambda: ["spawn"]
for method in ("fork", "forkserver"):
    del multiprocessing.context._concrete_contexts[method]
multiprocessing.set_start_method("spawn")

_fsync, _replace, _open = os.fsync, os.replace, io.open


def fsync(descriptor: int) -> None:
    """Only what is open for writing can be flushed."""
    is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
    if is_file and fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    _fsync(descriptor)


def replace(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Files that are open can neither be renamed nor replaced."""
    descriptors = pathlib.Path("/proc/self/fd").iterdir()
    opened = {os.path.realpath(each) for each in descriptors}
    if opened & {os.path.realpath(source), os.path.realpath(target)}:
        raise PermissionError(errno.EACCES, "in use", str(source), None, str(target))
    _replace(source, target)


def open_unlocked(file: object, *args: object, **kwargs: object) -> io.IOBase:
    """A locked file can neither be read nor written through another handle; the lock itself does not come here."""
    if str(file).endswith(".lock"):
        raise PermissionError(errno.EACCES, "locked", str(file))
    return _open(file, *args, **kwargs)


os.fsync, os.replace, io.open = fsync, replace, open_unlocked
