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
from dataset.hdf5 import hdf5_image, open_hdf5, read_all, stored_in
from dataset.layout import FEATURES, FILES, NOISY
from dataset.published import EVENTS
from dataset.size import AVE
from tools.arguments import positive, tool_parser
from utils.atomic import atomic_write
from utils.command import run_command
from utils.errors import InputError, os_error_as_input_error
from utils.signals import deferred_signals
from utils.wording import counted


def parse_arguments() -> argparse.Namespace:
    parser = tool_parser("make_labels", __doc__)
    add = parser.add_argument
    add("--annotations", type=Path, required=True, metavar="FILE", help="Annotations.txt, with or without header line")
    add("--out", type=Path, required=True, metavar="DIR", help="folder to write; made if it is not there")
    for split in SPLITS:
        lines = f"annotation lines of the {split} split, such as AVE's {split}Set.txt: write {split}_order.h5 too"
        add(f"--{split}_set", type=Path, metavar="FILE", help=lines)
    features = "(default: as the features in DIR have, else"
    add("--segments", type=positive, metavar="N", help=f"seconds of a video {features} {AVE.segments})")
    noisy = f"rows of labels_noisy.h5 {features} {AVE.noisy} for AVE's events and no such file for others)"
    add("--noisy", type=positive, metavar="N", help=noisy)
    add("--allow_missing", action="store_true", help="leave out lines of the splits that have no row in --annotations")
    add("--overwrite", action="store_true", help="replace files of the folder that hold something else")
    return parser.parse_args()


def length_in_features(out: Path, names: tuple[str, ...], axis: int) -> int | None:
    """The length of an axis of the first feature file that is there."""
    for name in names:
        if (out / name).exists():
            shape, _ = stored_in(out / name)
            if len(shape) != FILES[name].ndim:
                raise InputError(f"{out / name}: shape {shape}, expected {FILES[name].ndim} axes")
            return shape[axis]
    return None


def number_of_segments(out: Path, asked: int | None) -> int:
    found = length_in_features(out, FEATURES, axis=1)
    if asked and found and asked != found:
        raise InputError(f"--segments is {asked}, but the features in {out} have {found} segments: leave it out")
    return found or asked or AVE.segments


def number_of_noisy_videos(out: Path, asked: int | None, events: list[str]) -> int:
    default = AVE.noisy if set(events) == set(EVENTS) else 0
    return asked or length_in_features(out, NOISY[:2], axis=0) or default


def read_orders(sets: dict[str, Path], annotations: list, allow_missing: bool) -> dict[str, np.ndarray]:
    """The rows of the splits that have a file, none of them in two splits."""
    orders = {split: rows_of(path, annotations, allow_missing) for split, path in sets.items()}
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
        with open_hdf5(path, key) as data:
            same_kind = (data.shape, data.dtype) == (values.shape, values.dtype)
            return same_kind and np.array_equal(read_all(data, path), values)
    except InputError:
        return False


def write_files(out: Path, contents: dict[str, np.ndarray]) -> None:
    """Write arrays, by file name; the files appear together at the end, or none of them does."""
    with os_error_as_input_error(out):
        out.mkdir(parents=True, exist_ok=True)
        with deferred_signals(), ExitStack() as stack:
            for name, values in contents.items():
                stack.enter_context(atomic_write(out / name)).write_bytes(hdf5_image(FILES[name].key, values))


def main() -> None:
    args = parse_arguments()
    num_segments = number_of_segments(args.out, args.segments)
    annotations = read_annotations(args.annotations, num_segments)
    events = class_names(annotations)
    num_noisy = number_of_noisy_videos(args.out, args.noisy, events)
    sizes = (counted(len(events), "event", "events"), counted(len(annotations), "video", "videos"))
    print(f"{args.annotations}: {sizes[0]} in {sizes[1]} of {num_segments} segments", file=sys.stderr)
    for mistake in likely_mistakes(annotations):
        print(f"warning: {args.annotations}: {mistake}", file=sys.stderr)
    sets = {split: getattr(args, f"{split}_set") for split in SPLITS if getattr(args, f"{split}_set")}
    orders = read_orders(sets, annotations, args.allow_missing)

    contents = {
        "right_labels.h5": segment_labels(annotations, num_segments),
        "mil_labels.h5": video_labels(annotations),
    }
    if num_noisy:
        contents["labels_noisy.h5"] = noisy_labels(num_noisy, len(events))
    contents |= {f"{split}_order.h5": rows for split, rows in orders.items()}
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
