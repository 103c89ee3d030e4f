"""Rewrite the features of a data folder in float16 or float32, a quarter or half of the published files' size.

The result is a complete folder in the same layout, for --data_root. Every row is read back and compared with its
source before the file is renamed to its final name. Run it again after an interruption: complete files are skipped.

--from_folder makes such a folder from NumPy files, one per video: arrays (t, h, w, c) or (t, c, h, w) of the picture,
and (t, d) of the sound. Their names are the video ids of --annotations, with .npy or .npz.
"""

import filecmp
import logging
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shlex import quote

import h5py
import numpy as np

from dataset.annotations import read_annotations
from dataset.arrays import pack_arrays
from dataset.features import channels_are_first, require_channels_last
from dataset.hdf5 import FAILURES, new_hdf5, open_hdf5, require_stored, unreadable
from dataset.layout import ANNOTATIONS, EXTRACTION, FEATURES, FILES, NOISY, OLD_LABELS
from dataset.sources import require_files
from tools.arguments import data_root_option, folder, tool_parser
from utils.atomic import atomic_write, require_room
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


def pack(source: Path, out: Path, dtype: np.dtype, channels_first: bool = False) -> None:
    """Pack the folder ``source`` into ``out``, with features of type ``dtype``.

    With ``channels_first``, maps (n, t, c, h, w) become (n, t, h, w, c), unless the last axis is surely the channels.

    Raises:
        InputError: the source cannot be read, or has a value too large for the type, or channels where they are not
            expected; ``out`` holds other contents under one of the names, or cannot be written; a row reads back as
            something else than was written.
    """
    require_files(source, FEATURES)
    if out.resolve() == source.resolve():
        raise InputError(f"{out}: is the folder to pack; name another one to write to")
    with ExitStack() as stack:
        paths = [source / name for name in FEATURE_FILES if (source / name).exists()]
        features = {path.name: stack.enter_context(open_features(path)) for path in paths}
        turned = [name for name, data in features.items() if channels_first and may_have_channels_first(data.shape)]
        if channels_first and not turned:
            raise InputError(f"{source}: the channels are the last axis already: leave out --channels_first")
        if not channels_first:
            for path in paths:
                require_channels_last(path, features[path.name].shape)
        pack_files(source, out, features, turned, dtype)


def may_have_channels_first(shape: tuple[int, ...]) -> bool:
    """Whether features of this shape are maps whose last axis is not surely the channels."""
    return len(shape) == 5 and not channels_are_first((*shape[:2], shape[4], *shape[2:4]))


def pack_files(
    source: Path, out: Path, features: dict[str, h5py.Dataset], turned: Sequence[str], dtype: np.dtype
) -> None:
    """Write the features, the ``turned`` ones with their third axis last, and copy the small files."""
    small = [name for name in SMALL_FILES if (source / name).is_file()]
    missing = [name for name in (*small, *features) if not (out / name).exists()]
    needed = sum(features[n].size * dtype.itemsize if n in features else (source / n).stat().st_size for n in missing)
    require_room(out, needed)
    with os_error_as_input_error(out):
        out.mkdir(parents=True, exist_ok=True)
        for name in sorted((*small, *features), key=missing.__contains__):  # files that are there are compared first
            if name in features:
                pack_file(features[name], out / name, dtype, name in turned)
            elif name in missing:
                with atomic_write(out / name) as temporary:
                    shutil.copyfile(source / name, temporary)
            else:
                require(filecmp.cmp(source / name, out / name, shallow=False), out / name)


def pack_file(source: h5py.Dataset, out: Path, dtype: np.dtype, turned: bool) -> None:
    """Write a feature file if it is not there, compare it with its source, and log the largest rounding error."""
    shape, is_there = source.shape, out.exists()
    shape = (*shape[:2], *shape[3:], shape[2]) if turned else shape
    largest, where = 0.0, 0
    with open_hdf5(out) if is_there else new_hdf5(out) as file:
        packed = file if is_there else file.create_dataset("avadataset", shape, dtype)
        require((packed.shape, packed.dtype) == (shape, dtype), out)
        for rows in chunks(source, f"{'verifying' if is_there else 'writing'} {out.name}"):
            values, expected = narrowed(source, rows, dtype, turned)
            if not is_there:
                packed[rows] = expected
            require(np.array_equal(read(packed, rows), expected, equal_nan=True), out)
            with np.errstate(invalid="ignore"):  # infinity minus infinity, in a source that has it
                errors = np.nan_to_num(np.abs(expected.astype(np.float64) - values), nan=0.0)
            worst = errors.reshape(len(errors), -1).max(axis=1)
            if worst.max() > largest:
                largest, where = float(worst.max()), rows.start + int(worst.argmax())
    sizes = f"{source.dtype} to {dtype}{', channels moved last' if turned else ''}, {out.stat().st_size / 1e9:.2f} GB"
    log.info("%s: %s, verified; largest rounding error %.3g, in row %d", out.name, sizes, largest, where)


def narrowed(source: h5py.Dataset, rows: slice, dtype: np.dtype, turned: bool) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the source in the shape to write, as they are and as ``dtype``; a row too large is an ``InputError``."""
    values = np.moveaxis(read(source, rows), 2, -1) if turned else read(source, rows)
    with np.errstate(over="ignore"):
        narrow = values.astype(dtype)
    for place in np.argwhere(np.isinf(narrow) & np.isfinite(values)):
        raise InputError(
            f"{source.file.filename}: row {rows.start + place[0]} has the value {values[tuple(place)]:g}, and the "
            f"largest {dtype} is {np.finfo(dtype).max:g}: use a wider --dtype, or correct the row"
        )
    return values, narrow


@contextmanager
def open_features(path: Path) -> Iterator[h5py.Dataset]:
    with open_hdf5(path) as data:
        require_stored(data, path)
        if data.dtype.kind != "f" or not data.ndim or not data.size:
            raise InputError(f"{path}: shape {data.shape}, type {data.dtype}, expected rows of floating-point numbers")
        yield data


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
    parser = tool_parser("pack_features", __doc__, data_root_option("folder to pack"))
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder to write; made if it is not there")
    add("--dtype", choices=("float16", "float32"), default="float16", help="type of the features (default: float16)")
    add(
        "--from_folder", type=folder, nargs=2, metavar=("VISUAL", "AUDIO"), help="pack the NumPy files of single videos"
    )
    add("--annotations", type=Path, metavar="FILE", help="with --from_folder: lines that are the rows")
    add("--channels_first", action="store_true", help="turn maps round that are stored as (n, t, channels, h, w)")
    args = parser.parse_args()
    log_to_terminal()
    if bool(args.from_folder) != bool(args.annotations):
        parser.error("--from_folder and --annotations go together")
    if args.from_folder:
        args.out.mkdir(parents=True, exist_ok=True)
        pack_arrays(args.from_folder, read_annotations(args.annotations), args.out, args.dtype)
        log.info("%s has the features: labels are next, with python -m tools.make_labels", args.out)
        return
    pack(args.data_root, args.out, np.dtype(args.dtype), args.channels_first)
    log.info("%s is complete: use it with --data_root %s", args.out, quote(str(args.out)))


if __name__ == "__main__":
    run_command(main)
