"""Files that are written completely or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from utils.errors import InputError, os_error_as_input_error

SUFFIX = ".partial"


def require_room(path: Path, size: int) -> None:
    """Check that the disk of ``path``, which need not exist, has ``size`` bytes free; an ``InputError`` says if not."""
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if size > (free := shutil.disk_usage(existing).free):
        raise InputError(
            f"{path}: needs {size / 1e9:.2f} GB, and its disk has {free / 1e9:.2f} GB free: make room, or name a "
            "folder on another disk"
        )


@contextmanager
def atomic_write(path: Path, shared: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success, flush it to disk and rename it to ``path``.

    On any error the temporary file is removed and ``path`` stays as it was. With ``shared``, other processes may write
    ``path`` at the same time: one of them wins.
    """
    temporary = path.with_name(f"{path.name}{f'.{uuid4().hex}' if shared else ''}{SUFFIX}")
    try:
        yield temporary
        with open(temporary, "r+b") as file:  # Windows flushes only what is open for writing
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the rename itself reaches the disk with its directory
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8; bytes of file names that are not UTF-8, which Python has as surrogates, as ``\\udc..``."""
    with os_error_as_input_error(path), atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
