"""A data folder rewritten with narrower features: in bounded memory, verified, and resumed wherever it was broken off.

Each feature file grows under a temporary name. A record beside it says how many rows are on the disk; it is written
after them, so a crash between the two only has some rows written again. When all rows are written, every one is read
back and compared with its source, whoever wrote it and whenever, and only then does the file get its name.
"""

import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from dataset.hdf5 import FAILURES, new_hdf5, open_hdf5, require_stored
from dataset.layout import ANNOTATIONS, FEATURES, FILES, OLD_LABELS, require_files
from utils.atomic import SUFFIX, atomic_write
from utils.errors import InputError
from utils.signals import deferred_signals

KEY = "avadataset"
RECORD = "packing.json"
CHUNK_BYTES = 2**25  # of the source, in memory at a time
# The smaller ones first, so that what is wrong with them shows early.
FEATURE_FILES = ("audio_feature.h5", "audio_feature_noisy.h5", "visual_feature_noisy.h5", "visual_feature.h5")
LABEL_FILES = tuple(name for name in (*FILES, OLD_LABELS, ANNOTATIONS, "truth.h5") if name not in FEATURE_FILES)

Track = Callable[[Iterable, str, int], Iterable]  # wraps a loop: its items, its title, how many items there are


class Packed(NamedTuple):
    """What became of a feature file."""

    name: str
    before: np.dtype
    after: np.dtype
    num_bytes: int
    rounding: float  # the largest absolute difference from the source
    row: int  # where that is


class Packing:
    """The work of packing one folder into another, new or to be gone on with.

    Args:
        source: a folder in the AVE layout; the noisy set and all small files are optional.
        out: the folder to write; made if it is not there.
        dtype: of the packed features, ``float16`` or ``float32``.

    Raises:
        InputError: the source cannot be used, ``out`` holds anything but earlier work on the same, or the disk has too
            little room.
    """

    def __init__(self, source: Path, out: Path, dtype: str) -> None:
        self.source, self.out, self.dtype = source, out, np.dtype(dtype)
        require_files(source, FEATURES)
        if out.resolve() == source.resolve():
            raise InputError(f"{out}: is the folder to pack; name another one to write to")
        self.features = {name: _shape_and_type(source / name) for name in FEATURE_FILES if (source / name).exists()}
        self.labels = [name for name in LABEL_FILES if (source / name).is_file()]
        self.rows = self._earlier_work()  # of each feature file, how many are on the disk
        self._check_room()

    @property
    def goes_on(self) -> bool:
        """Whether some of the work was done before."""
        return (self.out / RECORD).exists()

    def run(self, track: Track) -> list[Packed]:
        """Do what is left.

        Raises:
            InputError: a source row cannot be read or has a value too large for the type, what was written reads back
                as something else, or the disk is full. Only a value that is too large leaves nothing to go on with.
        """
        try:
            with deferred_signals() as deliver_signals:
                self.out.mkdir(parents=True, exist_ok=True)
                self._save_record()
                packed = [
                    self._pack(name, lambda *loop: _between_signals(track(*loop), deliver_signals))
                    for name in self.features
                ]
                for name in self.labels:
                    deliver_signals()
                    if not (self.out / name).exists():
                        with atomic_write(self.out / name) as temporary:
                            shutil.copyfile(self.source / name, temporary)
                (self.out / RECORD).unlink()
        except OSError as error:
            raise InputError(
                f"{self.out}: cannot be written: {error.strerror or error}. "
                "What is there stays, and the same command goes on with it"
            ) from error
        return packed

    # ------------------------------------------------------------------------------------------------ one file

    def _pack(self, name: str, track: Track) -> Packed:
        path, partial = self.out / name, self._partial(name)
        shape, before = self.features[name]
        if not path.exists():
            if name not in self.rows or not self._is_ours(partial):
                self._create(partial, shape)
                self._done(name, 0)
            self._write_rows(name, track)
        rounding, row = self._verify_rows(name, path if path.exists() else partial, track)
        if not path.exists():
            partial.replace(path)
            self._done(name, shape[0])
        return Packed(name, before, self.dtype, path.stat().st_size, rounding, row)

    def _is_ours(self, path: Path) -> bool:
        """Whether a file can have been written here, and is whole."""
        try:
            return _shape_and_type(path) == (self.features[path.name.removesuffix(SUFFIX)][0], self.dtype)
        except InputError:
            return False

    def _create(self, path: Path, shape: tuple[int, ...]) -> None:
        """A file with room for all rows, which then are written where they belong without HDF5's taking part."""
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_layout(h5py.h5d.CONTIGUOUS)
        layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        layout.set_obj_track_times(False)  # the same rows make the same file
        with new_hdf5(path) as file:
            kind = h5py.h5t.py_create(self.dtype)
            h5py.h5d.create(file.id, KEY.encode(), kind, h5py.h5s.create_simple(shape), layout)

    def _write_rows(self, name: str, track: Track) -> None:
        chunks = self._chunks(name, first=self.rows[name])
        for rows in track(chunks, f"writing {name}", len(chunks)):
            self._write(self._partial(name), rows, self._narrowed(name, rows)[1])
            self._done(name, rows.stop)

    def _verify_rows(self, name: str, path: Path, track: Track) -> tuple[float, int]:
        """Compare every row with its source, write again what differs; the largest rounding error, and its row."""
        largest, where = 0.0, 0
        chunks = self._chunks(name)
        for rows in track(chunks, f"verifying {name}", len(chunks)):
            values, expected = self._narrowed(name, rows)
            if not _same(_read(path, rows), expected):
                self._write(path, rows, expected)
                if not _same(_read(path, rows), expected):
                    raise InputError(
                        f"{path}: rows {rows.start} to {rows.stop - 1} read back as something else than was written, "
                        "twice: the disk may be failing"
                    )
            with np.errstate(invalid="ignore"):  # infinity less infinity, in a source that has it
                error = np.abs(expected.astype(np.float64) - values).reshape(len(values), -1)
            worst = np.nan_to_num(error, nan=0.0).max(axis=1)
            if worst.max() > largest:
                largest, where = float(worst.max()), rows.start + int(worst.argmax())
        return largest, where

    def _narrowed(self, name: str, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the source as they are, and in the type to write."""
        values = _read(self.source / name, rows)
        with np.errstate(over="ignore"):
            narrow = values.astype(self.dtype)
        overflow = (np.isinf(narrow) & np.isfinite(values)).reshape(len(values), -1).any(axis=1)
        if overflow.any():
            row = int(overflow.argmax())
            size = np.nanmax(np.abs(values[row]), where=np.isfinite(values[row]), initial=0)
            self._discard()
            raise InputError(
                f"{self.source / name}: row {rows.start + row} has the value {size:g}, and the largest {self.dtype} is "
                f"{np.finfo(self.dtype).max:g}: use a wider --dtype, or mend the row. Nothing was packed"
            )
        return values, narrow

    def _write(self, path: Path, rows: slice, values: np.ndarray) -> None:
        """Put rows where HDF5 has their place, through to the disk."""
        data = open_hdf5(path)
        with data.file:
            offset = data.id.get_offset()
        with open(path, "r+b") as file:
            file.seek(offset + rows.start * values[0].nbytes)
            file.write(values.data)
            file.flush()
            os.fsync(file.fileno())
            if hasattr(os, "posix_fadvise"):  # what is verified shall come from the disk and not from memory
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def _chunks(self, name: str, first: int = 0) -> list[slice]:
        shape, before = self.features[name]
        step = max(1, CHUNK_BYTES // (before.itemsize * math.prod(shape[1:])))
        return [slice(start, min(start + step, shape[0])) for start in range(first, shape[0], step)]

    def _partial(self, name: str) -> Path:
        return self.out / f"{name}{SUFFIX}"

    # ------------------------------------------------------------------------------------------------ the record

    def _identity(self) -> dict:
        """What must be the same for the work to go on."""
        files = {name: (self.source / name).stat() for name in self.features}
        return {
            "source": str(self.source.resolve()),
            "dtype": str(self.dtype),
            "files": {name: [status.st_size, status.st_mtime_ns] for name, status in files.items()},
        }

    def _earlier_work(self) -> dict[str, int]:
        record = self.out / RECORD
        if not record.exists():
            names = (*self.features, *map(str, map(self._partial, self.features)), *self.labels)
            if present := [path.name for path in (self.out / name for name in names) if path.exists()]:
                raise InputError(
                    f"{self.out}: already holds {present[0]}, which is no unfinished work of this command: "
                    "name another folder"
                )
            return {}
        try:
            found = json.loads(record.read_text(encoding="utf-8"))
            rows = {name: int(found["rows"][name]) for name in found["rows"]}
            same = {name: found[name] for name in self._identity()} == self._identity()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{record}: cannot be read: delete the folder and begin again, or name another") from error
        if not same:
            raise InputError(
                f"{self.out}: holds unfinished work on {found['source']} as {found['dtype']}, or the features have "
                "changed since: delete the folder and begin again, or name another"
            )
        for name in self.features:
            if (self.out / name).exists() and not self._is_ours(self.out / name):
                raise InputError(
                    f"{self.out / name}: is not what this command wrote: delete it, or name another folder"
                )
        return rows

    def _done(self, name: str, rows: int) -> None:
        self.rows[name] = rows
        self._save_record()

    def _save_record(self) -> None:
        with atomic_write(self.out / RECORD) as temporary:
            temporary.write_text(json.dumps({**self._identity(), "rows": self.rows}, indent=2) + "\n", encoding="utf-8")

    def _discard(self) -> None:
        for name in self.features:
            (self.out / name).unlink(missing_ok=True)
            self._partial(name).unlink(missing_ok=True)
        (self.out / RECORD).unlink(missing_ok=True)

    def _check_room(self) -> None:
        needed = sum((self.source / name).stat().st_size for name in self.labels if not (self.out / name).exists())
        for name, (shape, _) in self.features.items():
            if not (self.out / name).exists():
                partial = self._partial(name)
                held = partial.stat().st_blocks * 512 if partial.exists() else 0
                needed += max(0, math.prod(shape) * self.dtype.itemsize - held)
        folder = next(folder for folder in (self.out, *self.out.absolute().parents) if folder.exists())
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise InputError(
                f"{self.out}: needs {needed / 1e9:.2f} GB, and its disk has {free / 1e9:.2f} GB free: make room, or "
                "name a folder on another disk"
            )


def _shape_and_type(path: Path) -> tuple[tuple[int, ...], np.dtype]:
    data = open_hdf5(path)
    with data.file:
        require_stored(data, path)
        if data.dtype.kind != "f" or not data.ndim or 0 in data.shape:
            raise InputError(f"{path}: shape {data.shape}, type {data.dtype}, expected rows of floating-point numbers")
        return data.shape, data.dtype


def _read(path: Path, rows: slice) -> np.ndarray:
    data = open_hdf5(path)
    try:
        with data.file:
            return data[rows]
    except FAILURES as error:
        raise InputError(
            f"{path}: rows {rows.start} to {rows.stop - 1} cannot be read, the file is damaged: {error}"
        ) from error


def _same(found: np.ndarray, expected: np.ndarray) -> bool:
    return np.array_equal(found, expected, equal_nan=True)


def _between_signals(items: Iterable, deliver_signals: Callable[[], None]) -> Iterator:
    for item in items:
        deliver_signals()
        yield item
