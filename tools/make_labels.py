"""Make the label files of the AVE layout from Annotations.txt, and the order files from the lists of its splits.

A file that already holds what would be written is left as it is.
"""

import argparse
import sys
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path

import numpy as np

from configs import SPLITS
from dataset.annotations import (
    class_names,
    likely_mistakes,
    noisy_labels,
    read_annotations,
    rows_of,
    segment_labels,
    video_labels,
)
from dataset.features import FeatureFile
from dataset.hdf5 import hdf5_image, open_hdf5, read_all
from dataset.layout import FILES
from dataset.synthetic import AUDIO_DIM, NUM_SEGMENTS
from utils.atomic import atomic_write
from utils.command import run_command
from utils.errors import InputError, reason_of
from utils.signals import deferred_signals
from utils.wording import counted

NUM_NOISY = 178  # of AVE's noisy features


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.make_labels",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--annotations", type=Path, required=True, metavar="FILE", help="Annotations.txt, with or without header line")
    add("--out", type=Path, required=True, metavar="DIR", help="folder to write; made if it is not there")
    for split in SPLITS:
        add(
            f"--{split}_set",
            type=Path,
            metavar="FILE",
            help=f"{split}Set.txt of the data set: write {split}_order.h5 too",
        )
    add(
        "--noisy",
        type=int,
        metavar="N",
        help=f"rows of labels_noisy.h5 (default: as many as audio_feature_noisy.h5 in DIR has, else {NUM_NOISY})",
    )
    add("--overwrite", action="store_true", help="replace files of the folder that hold something else")
    return parser.parse_args()


def read_orders(sets: dict[str, Path], annotations: list) -> dict[str, np.ndarray]:
    """The rows of the splits that have a file.

    Raises:
        InputError: a file does not fit the annotations, or a video is in two of them.
    """
    orders = {split: rows_of(path, annotations) for split, path in sets.items()}
    for one, other in combinations(orders, 2):
        if len(shared := np.intersect1d(orders[one], orders[other])):
            event, video_id, *_ = annotations[shared[0]]
            raise InputError(
                f"{sets[one]} and {sets[other]} share {counted(len(shared), 'video', 'videos')}, expected none: "
                f"{event}&{video_id} is one"
            )
    return orders


def holds(path: Path, key: str, values: np.ndarray) -> bool:
    """Whether a file has these values, of this type, under the key, whatever its other bytes."""
    try:
        data = open_hdf5(path, key)
        same_kind = (data.shape, data.dtype) == (values.shape, values.dtype)
        return same_kind and np.array_equal(read_all(data, path), values)
    except InputError:
        return False


def write_files(out: Path, contents: dict[str, np.ndarray]) -> None:
    """Write arrays, by file name; the files appear together at the end, or none of them does.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with deferred_signals(), ExitStack() as stack:
            for name, values in contents.items():
                stack.enter_context(atomic_write(out / name)).write_bytes(hdf5_image(FILES[name].key, values))
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {reason_of(error)}") from error


def main() -> None:
    args = parse_arguments()
    noisy_features = args.out / "audio_feature_noisy.h5"
    if args.noisy is not None and args.noisy < 1:
        raise InputError(f"--noisy is {args.noisy}, expected 1 or more")
    annotations = read_annotations(args.annotations, NUM_SEGMENTS)
    num_events = len(class_names(annotations))
    said = f"{counted(num_events, 'event', 'events')} in {counted(len(annotations), 'video', 'videos')}"
    print(f"{args.annotations}: {said}", file=sys.stderr)
    for mistake in likely_mistakes(annotations):
        print(f"warning: {args.annotations}: {mistake}", file=sys.stderr)
    sets = {split: getattr(args, f"{split}_set") for split in SPLITS if getattr(args, f"{split}_set")}
    orders = read_orders(sets, annotations)
    noisy = args.noisy or NUM_NOISY
    if args.noisy is None and noisy_features.exists():
        noisy = FeatureFile(noisy_features, ndim=3, width=AUDIO_DIM).shape[0]

    contents = {
        "right_labels.h5": segment_labels(annotations, NUM_SEGMENTS),
        "mil_labels.h5": video_labels(annotations),
        "labels_noisy.h5": noisy_labels(noisy, num_events),
        **{f"{split}_order.h5": rows for split, rows in orders.items()},
    }
    # Written anew, a published file would have other bytes, and not the SHA-256 any more that tools.download recorded.
    new = {name: values for name, values in contents.items() if not holds(args.out / name, FILES[name].key, values)}
    present = [name for name in new if (args.out / name).exists()]
    if present and not args.overwrite:
        raise InputError(
            f"{args.out} already holds {', '.join(present)} with other contents: "
            "name another folder, or give --overwrite"
        )
    write_files(args.out, new)
    for name, values in contents.items():
        done = "" if name in new else ", is there already"
        print(f"{args.out / name}: {values.shape}, {values.dtype}{done}", file=sys.stderr)


if __name__ == "__main__":
    run_command(main)
