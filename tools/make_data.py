"""Make synthetic audio-visual events in the AVE layout, to try and test everything without downloading features."""

import argparse
import sys
from pathlib import Path

from dataset.annotations import class_names, read_annotations
from dataset.layout import ANNOTATIONS, FILES
from dataset.synthetic import NUM_SEGMENTS, SyntheticAVE, write_synthetic_ave
from tools.arguments import positive
from utils.command import run_command
from utils.errors import InputError, os_error_as_input_error
from utils.log import log_to_terminal
from utils.progress import Progress


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.make_data", description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write, created if necessary")
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--videos", type=positive, metavar="N", help="number of videos, at least one per event")
    size.add_argument(
        "--annotations", type=Path, metavar="FILE", help="take videos, events and times from this Annotations.txt"
    )
    parser.add_argument("--classes", type=positive, default=28, metavar="K", help="events, with --videos (default: 28)")
    parser.add_argument(
        "--noisy", type=positive, metavar="N", help="videos without an event (default: 178 for every 4143 videos)"
    )
    parser.add_argument(
        "--signal",
        type=float,
        default=0.5,
        metavar="X",
        help="events over noise: the smaller, the harder (default: 0.5)",
    )
    parser.add_argument(
        "--map_size", type=positive, default=7, metavar="N", help="height and width of the visual maps (default: 7)"
    )
    parser.add_argument(
        "--dtype",
        choices=("float16", "float32", "float64"),
        default="float16",
        help="type of the features (default: float16)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of all random numbers (default: 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace the data that the folder holds")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    log_to_terminal()
    if args.seed < 0:
        raise InputError(f"--seed is {args.seed}, expected 0 or more")
    if not 0 < args.signal < 1000:
        raise InputError(f"--signal is {args.signal}, expected more than 0 and less than 1000")
    if args.annotations is None and args.videos < max(3, args.classes):
        raise InputError(
            f"--videos is {args.videos}, expected at least {max(3, args.classes)}: one per class, three in all"
        )

    annotations = read_annotations(args.annotations, NUM_SEGMENTS) if args.annotations else None
    if annotations is not None and len(annotations) < 3:
        raise InputError(f"{args.annotations} has {len(annotations)} videos, expected at least 3: one per split")
    classes = len(class_names(annotations)) if annotations else args.classes
    generator = SyntheticAVE(classes, args.signal, args.map_size, args.seed)
    annotations = annotations or generator.annotations(args.videos)
    noisy = args.noisy or max(1, round(len(annotations) * 178 / 4143))

    with os_error_as_input_error(args.out):
        args.out.mkdir(parents=True, exist_ok=True)
        present = [name for name in (*FILES, ANNOTATIONS) if (args.out / name).exists()]
        if present and not args.overwrite:
            raise InputError(f"{args.out} already holds {present[0]}: name another folder, or give --overwrite")
        write_synthetic_ave(
            args.out,
            generator,
            annotations,
            noisy,
            args.dtype,
            progress=lambda clips: Progress("making videos", print_freq=100).track(clips, total=len(clips)),
        )
    print(f"{len(annotations)} videos of {classes} events and {noisy} without event in {args.out}", file=sys.stderr)


if __name__ == "__main__":
    run_command(main)
