"""HDF5 files of features, read row by row."""

import os
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from dataset.hdf5 import FAILURES, open_hdf5, require_stored, unreadable
from utils.errors import InputError


class FeatureFile:
    """An HDF5 file of features, opened on first use in each process that reads it.

    HDF5 handles do not survive a fork, so each DataLoader worker opens its own. The data have ``ndim`` axes, the last
    one of length ``width``.

    Raises:
        InputError: the file is not HDF5, lacks the data set, or its shape or type does not fit.
    """

    def __init__(self, path: Path, ndim: int, width: int) -> None:
        self.path = path
        self._handle: h5py.Dataset | None = None
        self._process: int | None = None
        data = self._open()
        require_stored(data, path)
        self.shape, self.dtype = data.shape, data.dtype
        if len(self.shape) != ndim or self.shape[-1] != width or 0 in self.shape:
            raise InputError(f"{path}: shape {self.shape}, expected {ndim} axes, none empty, the last one {width} long")
        if self.dtype.kind != "f":
            raise InputError(f"{path}: type {self.dtype}, expected floating-point numbers")

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, rows: Sequence[int], out: np.ndarray, places: Sequence[int]) -> None:
        """Read ``rows[i]`` into ``out[places[i]]``, converted to the float type of ``out``.

        Raises:
            InputError: a row cannot be read; the message names it.
        """
        data = self._open()
        as_stored = None if out.dtype == self.dtype else np.empty(self.shape[1:], self.dtype)
        try:
            for row, place in zip(rows, places, strict=True):
                if as_stored is None:
                    data.read_direct(out, np.s_[row], np.s_[place])
                else:  # NumPy converts faster than HDF5
                    data.read_direct(as_stored, np.s_[row])
                    with np.errstate(over="ignore"):  # an overflow to infinity stops training, which names the row
                        out[place] = as_stored
        except FAILURES as error:
            raise unreadable(self.path, error, f"row {row}") from error

    def _open(self) -> h5py.Dataset:
        if self._handle is None or self._process != os.getpid():
            self._handle = open_hdf5(self.path)
            self._process = os.getpid()
        return self._handle

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_handle": None}
