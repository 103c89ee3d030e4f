"""Errors that the user can fix."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InputError(Exception):
    """An input that a command cannot use. The message says what is wrong, where, what was expected and what to do.

    Commands print the message alone and exit with 2.
    """


def reason_of(error: OSError) -> str:
    """The reason that the system gives for an error; libraries add a text of their own to it."""
    return os.strerror(error.errno) if error.errno else str(error)


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
        raise InputError(f"{path}: cannot be written: {reason_of(error)}{unharmed}") from error
