"""HDF5 files of features, read and written row by row."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np

from dataset.hdf5 import FAILURES, new_hdf5, open_hdf5, stored_in, unreadable
from utils.atomic import atomic_write
from utils.errors import InputError, os_error_as_input_error
from utils.progress import Progress
from utils.signals import deferred_signals
from utils.wording import command_line


class ChannelsFirstError(InputError):
    """Visual features with the channels before height and width. The message has the command that moves them."""


def channels_are_first(shape: Sequence[int], width: int | None = None) -> bool:
    """Whether features are maps (n, t, c, h, w), as PyTorch's networks give them: only the third axis can be channels.

    It is longer than the last two, and ``width`` long or, where these may be the sides of a map, far longer.
    """
    if len(shape) != 5:
        return False
    channels, least, most = shape[2], min(shape[3:]), max(shape[3:])
    return channels > most and (channels == width or (most <= 4 * least and channels > 4 * most))


def require_channels_last(path: Path, shape: Sequence[int], width: int | None = None) -> None:
    """Raise a ``ChannelsFirstError`` if ``channels_are_first``."""
    if channels_are_first(shape, width):
        flags = ["--data_root", path.parent, "--out", f"{path.parent}-channels-last", "--channels_first"]
        raise ChannelsFirstError(
            f"{path}: shape {shape}, its third axis is the channels, expected as the last one. To turn the maps "
            f"round: {command_line('pack_features', *flags)}"
        )


class FeatureFile:
    """An HDF5 file of features, opened at the first read in each process that reads it, and open until ``close``.

    HDF5 handles do not survive a fork, so each DataLoader worker opens its own. The data have ``ndim`` axes, the last
    one of length ``width``.

    Raises:
        ChannelsFirstError: the maps of visual features have their channels first.
        InputError: the file is not HDF5, lacks the data set, or its shape or type does not fit.
    """

    def __init__(self, path: Path, ndim: int, width: int) -> None:
        self.path = path
        self._handle: h5py.Dataset | None = None
        self._opened: ExitStack | None = None
        self._process: int | None = None
        self.shape, self.dtype = stored_in(path)
        require_channels_last(path, self.shape, width)
        if len(self.shape) != ndim or self.shape[-1] != width or 0 in self.shape:
            raise InputError(f"{path}: shape {self.shape}, expected {ndim} axes, none empty, the last one {width} long")
        if self.dtype.kind != "f":
            raise InputError(f"{path}: type {self.dtype}, expected floating-point numbers")

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, rows: Sequence[int], out: np.ndarray, places: Sequence[int]) -> None:
        """Read ``rows[i]`` into ``out[places[i]]``, converted to the float type of ``out``.

        Raises:
            InputError: a row cannot be read; the message names it. Or the file has changed since it was checked.
        """
        dataset, of_row = self._open(), self.shape[1:]
        if dataset.shape != self.shape or out.shape[1:] != of_row:  # HDF5 would write past the end of ``out``
            found, asked = dataset.shape, (len(self), *out.shape[1:])
            raise InputError(f"{self.path}: has shape {found}, expected {self.shape}, to be read as {asked}")
        as_stored = None if out.dtype == self.dtype else np.empty(of_row, self.dtype)
        # By HDF5's own calls: h5py's indexing takes as long as reading a row does.
        data, one_row = dataset.id, h5py.h5s.create_simple(of_row)
        try:
            chosen = data.get_space()
            for row, place in zip(rows, places, strict=True):
                chosen.select_hyperslab((row, *[0] * len(of_row)), (1, *of_row))
                if as_stored is None:
                    data.read(one_row, chosen, out[place])
                else:  # NumPy converts faster than HDF5
                    data.read(one_row, chosen, as_stored)
                    with np.errstate(over="ignore"):  # an overflow to infinity stops training, which names the row
                        out[place] = as_stored
        except FAILURES as error:
            raise unreadable(self.path, error, f"row {row}") from error

    def close(self) -> None:
        """Close the file, if this process has it open; the next read opens it again."""
        if self._handle is not None and self._process == os.getpid():
            self._handle = None
            self._opened.close()

    def _open(self) -> h5py.Dataset:
        if self._handle is None or self._process != os.getpid():
            self._opened, self._process = ExitStack(), os.getpid()
            self._handle = self._opened.enter_context(open_hdf5(self.path))
        return self._handle

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_handle": None, "_opened": None}


def write_features(
    root: Path,
    names: Sequence[str],
    rows: Sequence[str],
    read: Callable[[str], Sequence[np.ndarray]],
    dtype: str,
    others: Mapping[str, bytes],
) -> None:
    """Write feature files into a folder, and other files with them, by name: all of them, or none.

    ``read`` gives a row of each feature file; one of another shape or not finite in ``dtype`` is an ``InputError``.
    """
    with os_error_as_input_error(root), deferred_signals() as deliver_signals, ExitStack() as stack:
        files = [stack.enter_context(new_hdf5(root / name)) for name in names]
        progress = Progress("writing", print_freq=max(1, len(rows) // 5))
        for number, row in enumerate(progress.track(rows, total=len(rows))):
            deliver_signals()
            for name, file, values in zip(names, files, read(row), strict=True):
                if not number:
                    file.create_dataset("avadataset", (len(rows), *values.shape), dtype)
                if values.shape != (expected := file["avadataset"].shape[1:]):
                    raise InputError(f"{root / name}: row {number} ({row}) has shape {values.shape}, not {expected}")
                with np.errstate(over="ignore"):
                    narrow = values.astype(dtype)
                if not np.isfinite(narrow).all():
                    raise InputError(f"{root / name}: row {number} ({row}) has values that are not finite in {dtype}")
                file["avadataset"][number] = narrow
        for name, contents in others.items():
            stack.enter_context(atomic_write(root / name)).write_bytes(contents)
