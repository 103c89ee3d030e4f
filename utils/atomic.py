"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.errors import InputError

SUFFIX = ".partial"


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success it is flushed to disk and takes the place of ``path``.

    On any error the temporary file is removed and ``path`` is left as it was.
    """
    temporary = path.with_name(path.name + SUFFIX)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the rename itself reaches the disk with its folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def reported_failure(path: Path) -> Iterator[None]:
    """Turn what the system says when ``path`` cannot be written into an ``InputError``.

    Where there was something before, which ``atomic_write`` leaves as it was, the sentence says so.
    """
    existed = os.path.lexists(path)
    try:
        yield
    except OSError as error:
        unharmed = ". What it held is unharmed" if existed else ""
        raise InputError(f"{path}: cannot be written: {error.strerror or error}{unharmed}") from error
