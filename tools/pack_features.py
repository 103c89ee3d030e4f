"""Rewrite the features of a data folder in float16 or float32, a quarter or half of the published files' size.

The result is a complete folder in the same layout, for --data_root. Every row is read back and compared with its
source. Call it again after a stop, and it goes on where it was.
"""

import argparse
import logging
from collections.abc import Iterable
from pathlib import Path

from dataset.packing import Packing
from utils.command import run_command
from utils.log import log_to_terminal
from utils.progress import Progress

log = logging.getLogger(__name__)


def parse_arguments() -> argparse.Namespace:
    description, _, details = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m tools.pack_features", description=description, epilog=details, allow_abbrev=False
    )
    parser.add_argument(
        "--data_root", type=Path, default=Path("./data"), metavar="DIR", help="the folder to pack (default: ./data)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write; made if not there")
    parser.add_argument(
        "--dtype", choices=("float16", "float32"), default="float16", help="of the features (default: float16)"
    )
    return parser.parse_args()


def track(items: Iterable, title: str, total: int) -> Iterable:
    return Progress(title, print_freq=max(1, total // 5)).track(items, total)


def main() -> None:
    args = parse_arguments()
    log_to_terminal()
    packing = Packing(args.data_root, args.out, args.dtype)
    if packing.goes_on:
        log.info("%s: going on where it was", args.out)
    try:
        results = packing.run(track)
    except (KeyboardInterrupt, SystemExit):
        log.info("stopped: the same command goes on where it was")
        raise
    for packed in results:
        log.info(
            "%s: %s to %s, %.2f GB, verified; largest rounding error %.3g, in row %d",
            packed.name,
            packed.before,
            packed.after,
            packed.num_bytes / 1e9,
            packed.rounding,
            packed.row,
        )
    log.info("%s is complete: use it with --data_root %s", args.out, args.out)


if __name__ == "__main__":
    run_command(main)
