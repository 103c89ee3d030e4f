"""Measure the predictions of any network on a split: all measures, their yardsticks, and whether it localizes events.

PREDICTIONS holds the class of every segment, in the order of the split: predictions.csv, as --evaluate and the report
write it, or an array (videos, segments) of whole numbers, 0 to K - 1 for the events in the order of Annotations.txt and
K for background. As .npy it is the array alone; as .npz or HDF5 (.h5) it is the array "predicted", and there may be
"event_probability" (videos, segments), for the localization AUC, and "rows" (videos,), the numbers of the split's rows,
which are then compared.

  python -m tools.measure predictions.npz --data_root data --split test
"""

import csv
import zlib
from pathlib import Path
from zipfile import BadZipFile

import h5py
import numpy as np

from configs import SPLITS
from dataset.annotations import BACKGROUND, class_names, read_annotations
from dataset.hdf5 import FAILURES, read_all, stored_in
from dataset.labels import read_labels, read_order
from dataset.layout import ANNOTATIONS, segment_label_file
from dataset.sources import require_files
from engine.evaluation.measures import measure
from engine.evaluation.predictions import COLUMNS, spreadsheet_safe
from engine.evaluation.summary import measures_text
from tools.arguments import data_root_option, tool_parser
from utils.command import run_command
from utils.errors import InputError, reason_of
from utils.log import log_to_terminal

ARRAYS = ("predicted", "event_probability", "rows")
KINDS = {".csv", ".npy", ".npz", ".h5", ".hdf5"}


def main() -> None:
    parser = tool_parser("measure", __doc__, data_root_option("labels and splits in the AVE layout"))
    parser.add_argument("predictions", type=Path, metavar="PREDICTIONS", help=f"a file: {', '.join(sorted(KINDS))}")
    parser.add_argument("--split", choices=SPLITS, default="test", help="split of the predictions (default: test)")
    args = parser.parse_args()
    log_to_terminal()
    path, root, order = args.predictions, args.data_root, f"{args.split}_order.h5"
    if path.suffix not in KINDS:
        raise InputError(f"{path}: ends with {path.suffix!r}, expected one of {', '.join(sorted(KINDS))}")
    require_files(root, ("right_labels.h5", order))
    labels = segment_label_file(root)
    shape = stored_in(labels).shape
    if len(shape) != 3:
        raise InputError(f"{labels}: shape {shape}, expected (videos, segments, classes)")
    rows, num_events = read_order(root / order, shape[0]), shape[-1] - 1
    truth = read_labels(labels, shape)[rows].argmax(axis=-1)
    arrays = read_csv(path, names_of(root, num_events), shape[1]) if path.suffix == ".csv" else read_arrays(path)
    check_arrays(path, arrays, truth, num_events)
    if "rows" in arrays and (arrays["rows"] != rows).any():
        video = int((arrays["rows"] != rows).argmax())
        raise InputError(
            f"{path}: is not in the order of {root / order}: video {video} is of row {arrays['rows'][video]}, expected "
            f"row {rows[video]}. Name the --split of the predictions"
        )
    if (arrays.get("truth", truth) != truth).any():
        raise InputError(f"{path}: was made with other labels than {labels}: name the folder that it was made with")
    measures = measure(arrays["predicted"], truth, num_events, arrays.get("event_probability"))
    print(f"{args.split} split, {measures_text({'this network': measures}, truth, num_events)}")


def names_of(root: Path, num_events: int) -> list[str]:
    """The names of the classes in ``predictions.csv``: those of the data folder, or numbered ones; background last."""
    path = root / ANNOTATIONS
    names = class_names(read_annotations(path)) if path.is_file() else [f"event {k}" for k in range(num_events)]
    return [*map(spreadsheet_safe, names), BACKGROUND]


def read_csv(path: Path, names: list[str], num_segments: int) -> dict[str, np.ndarray]:
    """The arrays of a ``predictions.csv``, which has a line per segment, and its ``truth``.

    Raises:
        InputError: it is another file, or one of other events or lengths.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file, strict=True))
        cells = {name: [line[name] for line in lines] for name in COLUMNS}
        if not lines or cells["second"] != [*map(str, range(num_segments))] * (len(lines) // num_segments):
            raise ValueError(f"it has {len(lines)} lines, expected the {num_segments} seconds of each video in order")
        if others := {*cells["truth"], *cells["predicted"]} - {*names}:
            raise ValueError(f"it names {min(others)!r}, which is no event of the data folder")
        classes = {name: np.array([names.index(cell) for cell in cells[name]]) for name in ("truth", "predicted")}
        probability = np.array(cells["event_probability"], float)
        rows = np.array(cells["row"], int)[::num_segments]
    except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
        lacks = f"it has no column {error}" if isinstance(error, KeyError) else error
        raise InputError(f"{path}: cannot be read as predictions.csv: {reason_of(error) or lacks}") from error
    arrays = {**classes, "event_probability": probability}
    return {name: values.reshape(-1, num_segments) for name, values in arrays.items()} | {"rows": rows}


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Those of ``ARRAYS`` that an ``.npy``, ``.npz`` or HDF5 file holds; ``InputError`` if it cannot be read."""
    try:
        if path.suffix == ".npy":
            return {"predicted": np.load(path, allow_pickle=False)}
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as stored:
                return {name: stored[name] for name in ARRAYS if name in stored}
        with h5py.File(path) as stored:
            return {name: read_all(stored[name], path) for name in ARRAYS if name in stored}
    except (*FAILURES, AttributeError, BadZipFile, EOFError, zlib.error) as error:  # depending on where the damage is
        raise InputError(f"{path}: cannot be read: {reason_of(error) or error}") from error


def check_arrays(path: Path, arrays: dict[str, np.ndarray], truth: np.ndarray, num_events: int) -> None:
    """An ``InputError`` unless the arrays have the shapes of the split, the right types, and classes that there are."""
    if "predicted" not in arrays:
        raise InputError(f"{path}: has no array 'predicted', the classes {truth.shape} of all segments")
    for name, values in arrays.items():
        shape = truth.shape[: 1 if name == "rows" else 2]
        kind, kinds = ("numbers", "fiu") if name == "event_probability" else ("whole numbers", "iu")
        if values.shape != shape or values.dtype.kind not in kinds:
            hint = ": give the class of each segment, scores.argmax(-1)" if values.ndim == 3 else ""
            raise InputError(
                f"{path}: {name} has shape {values.shape}, type {values.dtype}, expected {shape}, {kind}{hint}"
            )
        if not np.isfinite(values).all():
            raise InputError(f"{path}: {name} has values that are not finite")
    predicted = arrays["predicted"]
    if len(outside := np.argwhere((predicted < 0) | (predicted > num_events))):
        video, second = outside[0].tolist()
        raise InputError(
            f"{path}: predicts class {predicted[video, second]} (video {video}, second {second}), expected 0 to "
            f"{num_events - 1} for the events, in the order of {ANNOTATIONS}, and {num_events} for background"
        )


if __name__ == "__main__":
    run_command(main)
