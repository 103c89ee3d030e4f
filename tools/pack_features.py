"""Rewrite the features of a data folder in float16 or float32, a quarter or half of the published files' size.

The result is a complete folder in the same layout, for --data_root. Every row is read back and compared with its
source before the file is renamed to its final name. Run it again after an interruption: complete files are skipped.
"""

import argparse
import filecmp
import logging
import math
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from dataset.features import channels_are_first, require_channels_last
from dataset.hdf5 import FAILURES, new_hdf5, open_hdf5, require_stored, unreadable
from dataset.layout import ANNOTATIONS, EXTRACTION, FEATURES, FILES, NOISY, OLD_LABELS
from dataset.sources import require_files
from utils.atomic import atomic_write
from utils.command import run_command
from utils.errors import InputError, os_error_as_input_error
from utils.log import log_to_terminal
from utils.progress import Progress

log = logging.getLogger(__name__)

FEATURE_FILES = sorted((*FEATURES, *NOISY[:2]))  # the smaller ones first
SMALL_FILES = tuple(
    name for name in (*FILES, OLD_LABELS, ANNOTATIONS, EXTRACTION, "truth.h5") if name not in FEATURE_FILES
)
_CHUNK_BYTES = 2**25  # of the source, in memory at a time


class Source(NamedTuple):
    """Features to pack, (n, t, h, w, c) or (n, t, c); ``turned`` ones are stored as (n, t, c, h, w)."""

    data: h5py.Dataset
    turned: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape to write."""
        n, t, *axes = self.data.shape
        return (n, t, *axes[1:], axes[0]) if self.turned else self.data.shape

    def read(self, rows: slice) -> np.ndarray:
        """Rows to write."""
        values = read(self.data, rows)
        return np.moveaxis(values, 2, -1) if self.turned else values


def pack(source: Path, out: Path, dtype: np.dtype, channels_first: bool = False) -> None:
    """Pack the folder ``source`` into ``out``, with features of type ``dtype``.

    Args:
        source: the folder to pack.
        out: the folder to write.
        dtype: of the features to write.
        channels_first: turn visual features (n, t, c, h, w) round, except in a file whose channels are surely the last
            axis.

    Raises:
        InputError: the source cannot be read, or has a value too large for the type; its channels are not where
            ``channels_first`` says; ``out`` holds other contents under one of the names, or cannot be written; a row
            reads back as something else than was written.
    """
    require_files(source, FEATURES)
    if out.resolve() == source.resolve():
        raise InputError(f"{out}: is the folder to pack; name another one to write to")
    with ExitStack() as stack:
        features = {
            name: open_features(source / name, channels_first, stack)
            for name in FEATURE_FILES
            if (source / name).exists()
        }
        if channels_first and not any(each.turned for each in features.values()):
            raise InputError(f"{source}: the channels are the last axis already: leave out --channels_first")
        pack_files(source, out, features, dtype)


def pack_files(source: Path, out: Path, features: dict[str, Source], dtype: np.dtype) -> None:
    """Write the features and copy the small files."""
    small = [name for name in SMALL_FILES if (source / name).is_file()]
    missing = [name for name in (*small, *features) if not (out / name).exists()]
    needed = sum(
        features[n].data.size * dtype.itemsize if n in features else (source / n).stat().st_size for n in missing
    )
    existing_folder = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if needed > (free := shutil.disk_usage(existing_folder).free):
        raise InputError(
            f"{out}: needs {needed / 1e9:.2f} GB, and its disk has {free / 1e9:.2f} GB free: make room, or name a "
            "folder on another disk"
        )
    with os_error_as_input_error(out):
        out.mkdir(parents=True, exist_ok=True)
        for name in sorted((*small, *features), key=missing.__contains__):  # files that are there are compared first
            if name in features:
                pack_file(features[name], out / name, dtype)
            elif name in missing:
                with atomic_write(out / name) as temporary:
                    shutil.copyfile(source / name, temporary)
            else:
                require(filecmp.cmp(source / name, out / name, shallow=False), out / name)


def pack_file(source: Source, out: Path, dtype: np.dtype) -> None:
    """Write a feature file if it is not there, compare it with its source, and log the largest rounding error."""
    if out.exists():
        with open_hdf5(out) as packed:
            require((packed.shape, packed.dtype) == (source.shape, dtype), out)
            rounding, row = compare(source, packed, out)
    else:
        with new_hdf5(out) as file:
            packed = file.create_dataset("avadataset", source.shape, dtype)
            for rows in chunks(source.data, f"writing {out.name}"):
                packed[rows] = narrowed(source, rows, dtype)[1]
            rounding, row = compare(source, packed, out)
    turned = ", channels moved last" if source.turned else ""
    sizes = f"{source.data.dtype} to {dtype}{turned}, {out.stat().st_size / 1e9:.2f} GB"
    log.info("%s: %s, verified; largest rounding error %.3g, in row %d", out.name, sizes, rounding, row)


def compare(source: Source, packed: h5py.Dataset, out: Path) -> tuple[float, int]:
    """The largest rounding error of the packed features, and its row.

    Raises:
        InputError: a row is not the rounded one of the source.
    """
    largest, where = 0.0, 0
    for rows in chunks(source.data, f"verifying {out.name}"):
        values, expected = narrowed(source, rows, packed.dtype)
        require(np.array_equal(read(packed, rows), expected, equal_nan=True), out)
        with np.errstate(invalid="ignore"):  # infinity minus infinity, in a source that has it
            errors = np.nan_to_num(np.abs(expected.astype(np.float64) - values), nan=0.0)
        worst = errors.reshape(len(errors), -1).max(axis=1)
        if worst.max() > largest:
            largest, where = float(worst.max()), rows.start + int(worst.argmax())
    return largest, where


def narrowed(source: Source, rows: slice, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the source, as they are and as ``dtype``.

    Raises:
        InputError: they cannot be read, or a value is too large for the type.
    """
    values = source.read(rows)
    with np.errstate(over="ignore"):
        narrow = values.astype(dtype)
    for place in np.argwhere(np.isinf(narrow) & np.isfinite(values)):
        raise InputError(
            f"{source.data.file.filename}: row {rows.start + place[0]} has the value {values[tuple(place)]:g}, and the "
            f"largest {dtype} is {np.finfo(dtype).max:g}: use a wider --dtype, or correct the row"
        )
    return values, narrow


def open_features(path: Path, channels_first: bool, stack: ExitStack) -> Source:
    """Open a feature file until ``stack`` ends, and decide whether to turn its maps."""
    data = stack.enter_context(open_hdf5(path))
    require_stored(data, path)
    if data.dtype.kind != "f" or not data.ndim or not data.size:
        raise InputError(f"{path}: shape {data.shape}, type {data.dtype}, expected rows of floating-point numbers")
    if not channels_first:
        require_channels_last(path, data.shape)
    *others, last = data.shape
    is_last = channels_are_first((*others[:2], last, *others[2:]))
    return Source(data, channels_first and data.ndim == 5 and not is_last)


def read(data: h5py.Dataset, rows: slice) -> np.ndarray:
    try:
        return data[rows]
    except FAILURES as error:
        raise unreadable(Path(data.file.filename), error, f"one of rows {rows.start} to {rows.stop - 1}") from error


def chunks(data: h5py.Dataset, title: str) -> Iterator[slice]:
    """Slices of as many rows as fit into memory, with a progress bar."""
    step = max(1, _CHUNK_BYTES // (data.dtype.itemsize * math.prod(data.shape[1:])))
    slices = [slice(start, min(start + step, len(data))) for start in range(0, len(data), step)]
    return Progress(title, print_freq=max(1, len(slices) // 5)).track(slices, total=len(slices))


def require(agrees: bool, path: Path) -> None:
    if not agrees:
        raise InputError(f"{path}: does not hold the rounded values of its source: name another folder")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.pack_features",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--data_root", type=Path, default=Path("./data"), metavar="DIR", help="folder to pack (default: ./data)")
    add("--out", type=Path, required=True, metavar="DIR", help="folder to write; made if it is not there")
    add("--dtype", choices=("float16", "float32"), default="float16", help="type of the features (default: float16)")
    add("--channels_first", action="store_true", help="turn maps round that are stored as (n, t, channels, h, w)")
    args = parser.parse_args()
    log_to_terminal()
    pack(args.data_root, args.out, np.dtype(args.dtype), args.channels_first)
    log.info("%s is complete: use it with --data_root %s", args.out, args.out)


if __name__ == "__main__":
    run_command(main)
