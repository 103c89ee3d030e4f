"""Report on a checkpoint: report.html, a single page with its pictures embedded, the pictures and predictions.csv.

A run folder gives the report on its best.pth.tar, including the training curves; a checkpoint alone gives the same
without the curves. Works for both settings and for the authors' checkpoints, which are evaluated as published.
"""

import argparse
import csv
import logging
from pathlib import Path

import numpy as np

from engine.evaluation.predictions import write_predictions
from engine.experiment import evaluation_of
from engine.run_folder import METRICS
from tools.arguments import checkpoint_of, evaluation_options, folder, tool_parser
from utils.command import run_command
from utils.errors import InputError, os_error_as_input_error
from utils.log import log_to_terminal
from utils.packages import require_packages

log = logging.getLogger(__name__)


def parse_arguments() -> argparse.Namespace:
    parser = tool_parser("report", __doc__, evaluation_options())
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder to write, created if necessary; an earlier report in it is replaced (default: report in the run "
        "folder, or NAME_report beside the checkpoint NAME)",
    )
    parser.add_argument(
        "--videos",
        type=folder,
        metavar="DIR",
        help="the raw videos, named by their ids: pages that play the worst, median and best ones, with the truth",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    log_to_terminal()
    require_packages("matplotlib", "jinja2", *(["av"] if args.videos else []))
    from tools.report.page import write_page

    videos = None
    if args.videos:
        from dataset.extraction.extractor import videos_by_id

        videos = videos_by_id(args.videos)

    checkpoint = checkpoint_of(args.source)
    if args.source.is_dir():
        out, metrics = args.source / "report", read_metrics(args.source / METRICS)
    else:
        out, metrics = args.source.with_name(f"{args.source.name.removesuffix('.tar').removesuffix('.pth')}_report"), {}
    out = args.out or out

    experiment = evaluation_of(checkpoint, args.data_root, args.gpu, args.split)
    with os_error_as_input_error(out):
        out.mkdir(parents=True, exist_ok=True)
    evaluation = experiment.score(observe=True)
    write_predictions(out / "predictions.csv", evaluation, experiment.class_names(), experiment.folder.root)
    own_picture = experiment.score(observe=True, mismatched="audio")
    own_sound = experiment.score(observe=True, mismatched="visual")
    print(write_page(out, experiment, metrics, evaluation, own_picture, own_sound, videos))


def read_metrics(path: Path) -> dict[str, np.ndarray]:
    """Read the columns of a run's ``metrics.csv``, (epochs,) each, NaN where not measured; empty without the file."""
    if not path.exists():
        return {}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            names, *rows = csv.reader(file)
        values = np.array([[float(value or "nan") for value in row] for row in rows])
        metrics = dict(zip(names, values.T, strict=True))
        if missing := {"epoch", "loss", "train_accuracy", "val_accuracy", "test_accuracy"} - metrics.keys():
            raise ValueError(f"it has no column {min(missing)}")
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: not the metrics of a run: {error}") from error
    return metrics


if __name__ == "__main__":
    run_command(main)
