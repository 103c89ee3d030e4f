"""HDF5 files: reading one data set, writing a file whole or not at all, and errors that name the file."""

import math
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import psutil

from utils.atomic import atomic_write
from utils.errors import AccessError, InputError, reason_of

# h5py raises one of these on a file that it cannot read, depending on where the damage is.
FAILURES = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError)


class Stored(NamedTuple):
    """The shape and type of a data set in a file."""

    shape: tuple[int, ...]
    dtype: np.dtype


@contextmanager
def open_hdf5(path: Path, key: str = "avadataset") -> Iterator[h5py.Dataset]:
    """Open the data set ``key`` of an HDF5 file for reading; the file is closed at the end of the ``with`` block.

    Raises:
        AccessError: the system does not let the file be read.
        InputError: the file is not HDF5, is truncated, or has no such data set.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(h5py.File(path, "r"))
            names = sorted(file)
            data = file[key] if key in names else None
            if isinstance(data, h5py.Dataset):
                data.shape, data.dtype  # noqa: B018 - a damaged header fails here, not at the first read
        except FAILURES as error:
            raise unreadable(path, error) from error
        if data is None:
            raise InputError(f"{path}: has no data set {key!r}, it has {names[:10]}")
        if not isinstance(data, h5py.Dataset):
            raise InputError(f"{path}: its {key!r} is a {type(data).__name__.lower()}, expected a data set")
        if data.shape is None:
            raise InputError(f"{path}: its data set {key!r} is empty")
        yield data


def stored_in(path: Path, key: str = "avadataset") -> Stored:
    """The shape and type of the data set ``key``, which the file holds whole.

    Raises:
        InputError: as ``open_hdf5`` and ``require_stored``.
    """
    with open_hdf5(path, key) as data:
        require_stored(data, path)
        return Stored(data.shape, data.dtype)


def require_stored(data: h5py.Dataset, path: Path) -> None:
    """Check that the file holds all values that the shape of ``data`` declares: HDF5 reads missing ones as zeros.

    Raises:
        InputError: it holds fewer, keeps them in other files, or compresses them in a way that HDF5 cannot undo here.
    """
    try:
        properties = data.id.get_create_plist()
        filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
        missing = [number for number in filters if not h5py.h5z.filter_avail(number)]
        elsewhere = data.is_virtual or data.external
        if data.chunks:
            unit = "chunks"
            declared = math.prod(-(-length // chunk) for length, chunk in zip(data.shape, data.chunks, strict=True))
            stored = data.id.get_num_chunks()
        else:
            unit = "bytes"
            declared, stored = math.prod(data.shape) * data.dtype.itemsize, data.id.get_storage_size()
    except (*FAILURES, ZeroDivisionError) as error:
        raise unreadable(path, error) from error
    if missing:
        raise InputError(
            f"{path}: is compressed with HDF5's filter {missing[0]}, which is not installed here: write it again "
            "without compression, or with gzip"
        )
    if elsewhere:
        raise InputError(f"{path}: keeps its values in other files, expected them in this one")
    if stored < declared:
        raise InputError(
            f"{path}: is incomplete: its shape {data.shape} stands for {declared:,} {unit}, {stored:,} were written"
        )


def read_all(data: h5py.Dataset, path: Path) -> np.ndarray:
    """Read all values of a small data set.

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
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception, part: str = "") -> InputError:
    """The error to raise if h5py fails with ``error`` on reading ``path``, or a ``part`` of it, such as "row 3"."""
    subject = f"{path}: {part} cannot be read" if part else f"{path}: cannot be read"
    if reason := reason_of(error):
        return AccessError(f"{subject}: {reason}")
    return InputError(f"{subject}: {_damage(path, error, part)}")


def _damage(path: Path, error: Exception, part: str) -> str:
    if sizes := re.search(r"truncated file: eof = (\d+).*stored_eof = (\d+)", str(error)):
        return "it is truncated: {:,} bytes are there, {:,} belong to it".format(*map(int, sizes.groups()))
    with suppress(OSError), open(path, "rb") as file:
        start = file.read(60).lower()
        if b"<html" in start or b"<!doctype html" in start:
            return "it is a web page, which a server may send in place of a file"
    return f"{'the file is damaged' if part else 'it is damaged or not an HDF5 file'}: {' '.join(str(error).split())}"


@contextmanager
def new_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open a new file for writing. It appears at ``path`` complete or not at all.

    Raises:
        OSError: it cannot be written.
    """
    with atomic_write(path) as temporary:
        file = h5py.File(temporary, "w")
        try:
            yield file
        except BaseException:
            with suppress(RuntimeError):  # the first error says more
                file.close()
            raise
        try:
            file.close()
        except RuntimeError as error:  # raised by HDF5 if the last values do not fit on the disk
            raise OSError(str(error)) from error


def hdf5_image(key: str, values: np.ndarray) -> bytes:
    """The contents of an HDF5 file with one small data set; HDF5 itself may crash if it cannot write a file."""
    with h5py.File("image", "w", driver="core", backing_store=False) as file:
        file[key] = values
        file.flush()
        return file.id.get_file_image()
