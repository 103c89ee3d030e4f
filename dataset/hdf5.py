"""HDF5 files: what the layout's files hold, and errors that name the file."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py
import numpy as np

from utils.atomic import atomic_write
from utils.errors import InputError

# What h5py raises depends on where the damage is.
FAILURES = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError)


def open_hdf5(path: Path, key: str = "avadataset") -> h5py.Dataset:
    """The data set ``key`` of an HDF5 file, open for reading.

    Raises:
        InputError: the file is no HDF5, is shorter than it says, or has no such data set.
    """
    try:
        file = h5py.File(path, "r")
        names = sorted(file)
        data = file[key] if key in names else None
        if isinstance(data, h5py.Dataset):
            data.shape, data.dtype  # noqa: B018 - a damaged header shows here, not at the first read
    except FAILURES as error:
        raise InputError(f"{path}: cannot be read as HDF5, it is damaged or something else: {error}") from error
    if not isinstance(data, h5py.Dataset):
        raise InputError(f"{path}: has no data set {key!r}, it has {names}")
    return data


def read_all(data: h5py.Dataset, path: Path) -> np.ndarray:
    """All values of a small data set.

    Raises:
        InputError: the file is damaged.
    """
    try:
        return data[()]
    except FAILURES as error:
        raise InputError(f"{path}: cannot be read, the file is damaged: {error}") from error


@contextmanager
def new_hdf5(path: Path) -> Iterator[h5py.File]:
    """A file to write, which appears at ``path`` whole or not at all.

    Raises:
        OSError: it cannot be written. What HDF5 raises on closing a file that did not fit on the disk is another type.
    """
    with atomic_write(path) as temporary:
        file = h5py.File(temporary, "w")
        try:
            yield file
        except BaseException:
            with suppress(RuntimeError):  # what went wrong before says more
                file.close()
            raise
        try:
            file.close()
        except RuntimeError as error:
            raise OSError(str(error)) from error
