"""Errors that the user can fix."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InputError(Exception):
    """An input that a command cannot use. The message says what is wrong, where, what was expected and what to do.

    Commands print the message alone and exit with 2.
    """


class AccessError(InputError):
    """A file that the system does not let a command read. Its contents may be good."""


_LOCKS = "this disk does not support file locks: set HDF5_USE_FILE_LOCKING=FALSE in the environment to do without them"
_REASONS = {
    errno.EAGAIN: "another program has it open for writing: wait until that program ends, or stop it",
    errno.ENOLCK: _LOCKS,
    errno.EACCES: "permission denied: change its permissions, or ask its owner",
    errno.EEXIST: "a file is there, expected a directory: name another one",
    errno.EIO: "the disk fails (input/output error): check the disk, or use a copy from another one",
}


def reason_of(error: BaseException) -> str | None:
    """The reason why the operating system refused access to a file, as the end of a sentence that names the file.

    None if ``error`` is about something else, such as the contents. h5py's errors carry the system's number, too.
    """
    number = getattr(error, "errno", None)
    if not number or number == errno.EINVAL:  # a damaged HDF5 file refers to places that no file can have
        return None
    if "unable to lock file" in str(error) and number != errno.EAGAIN:  # by HDF5, with any of several numbers
        return _LOCKS
    return _REASONS.get(number, os.strerror(number))


@contextmanager
def os_error_as_input_error(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` while ``path`` is written into an ``InputError``.

    If ``path`` existed before, the message adds that it is unharmed, as ``atomic_write`` guarantees.
    """
    existed = os.path.lexists(path)
    try:
        yield
    except OSError as error:
        unharmed = ". Its previous contents are unharmed" if existed else ""
        raise InputError(f"{path}: cannot be written: {reason_of(error) or error}{unharmed}") from error
