"""HDF5 files: what the layout's files hold, and errors that name the file."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py
import numpy as np
import psutil

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
        raise InputError(f"{path}: cannot be read as HDF5, {_reason(path, error)}") from error
    if not isinstance(data, h5py.Dataset):
        raise InputError(f"{path}: has no data set {key!r}, it has {names[:10]}")
    if data.shape is None:
        raise InputError(f"{path}: its data set {key!r} is empty")
    return data


def require_stored(data: h5py.Dataset, path: Path) -> None:
    """Check that the file holds all that the shape of ``data`` declares; HDF5 reads what was never written as zeros.

    Raises:
        InputError: it holds less, or keeps it elsewhere.
    """
    try:
        elsewhere = data.is_virtual or data.external
        if data.chunks:
            unit = "chunks"
            declared = math.prod(-(-length // chunk) for length, chunk in zip(data.shape, data.chunks, strict=True))
            stored = data.id.get_num_chunks()
        else:
            unit = "bytes"
            declared, stored = math.prod(data.shape) * data.dtype.itemsize, data.id.get_storage_size()
    except (*FAILURES, ZeroDivisionError) as error:
        raise InputError(f"{path}: cannot be read, the file is damaged: {error}") from error
    if elsewhere:
        raise InputError(f"{path}: keeps its values in other files, expected them in this one")
    if stored < declared:
        raise InputError(
            f"{path}: is incomplete: its shape {data.shape} stands for {declared:,} {unit}, {stored:,} were written"
        )


def read_all(data: h5py.Dataset, path: Path) -> np.ndarray:
    """All values of a small data set.

    Raises:
        InputError: the file is damaged or incomplete, or its values do not fit into memory.
    """
    require_stored(data, path)
    size, free = math.prod(data.shape) * data.dtype.itemsize, psutil.virtual_memory().available
    if size > free / 4:  # a compressed file can hold a thousand times its size
        raise InputError(f"{path}: holds {size:,} bytes, too many for the {free:,} that are free in memory")
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


def hdf5_image(key: str, values: np.ndarray) -> bytes:
    """The contents of an HDF5 file with one small data set; HDF5 itself may crash where a file cannot be written."""
    with h5py.File("image", "w", driver="core", backing_store=False) as file:
        file[key] = values
        file.flush()
        return file.id.get_file_image()


def _reason(path: Path, error: Exception) -> str:
    """Why HDF5 cannot read a file, for somebody who has just copied or downloaded it."""
    if sizes := re.search(r"truncated file: eof = (\d+).*stored_eof = (\d+)", str(error)):
        return "it is truncated: {:,} bytes are there, {:,} belong to it".format(*map(int, sizes.groups()))
    with suppress(OSError), open(path, "rb") as file:
        begin = file.read(60)
        if b"<html" in begin.lower() or b"<!doctype html" in begin.lower():
            return "it is a web page, which a server may send in place of a file"
    return f"it is damaged or something else: {error}"
