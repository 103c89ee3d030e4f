"""A report on a checkpoint: one page, report.html, with its pictures beside it and inside it, and predictions.csv.

A run's folder gives the report on its best.pth.tar, with the curves of the training; a checkpoint alone gives the
same without them. It works for both settings and for the authors' checkpoints, which are scored as published.
"""

import argparse
import csv
import logging
import math
from pathlib import Path

from configs import SPLITS
from engine.run_folder import BEST, METRICS
from utils.atomic import atomic_write
from utils.command import run_command
from utils.errors import InputError, os_error_as_input_error
from utils.log import log_to_terminal
from utils.packages import require_packages

log = logging.getLogger(__name__)

PAGE, PREDICTIONS = "report.html", "predictions.csv"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("source", type=Path, metavar="RUN_OR_CHECKPOINT", help="a run's folder or a checkpoint, ours or the authors'")
    add(
        "--data_root",
        type=Path,
        default=Path("./data"),
        metavar="DIR",
        help="features in the AVE layout (default: ./data)",
    )
    add("--gpu", default="0", metavar="N", help="CUDA device, or cpu (default: 0; without CUDA, the CPU)")
    add("--split", choices=SPLITS, default="test", help="what is scored (default: test)")
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder to write; made if it is not there, and a report in it is replaced (default: report in the run's "
        "folder, or NAME_report beside the checkpoint NAME)",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    log_to_terminal()
    require_packages("matplotlib")

    from engine.experiment import evaluation_of  # these take seconds to import
    from engine.predictions import write_predictions
    from tools.report.page import report_page
    from tools.report.sections import Report

    checkpoint, metrics = args.source, []
    out = args.source.with_name(args.source.name.removesuffix(".tar").removesuffix(".pth") + "_report")
    if args.source.is_dir():
        checkpoint, out = args.source / BEST, args.source / "report"
        if not checkpoint.exists():
            raise InputError(f"{args.source} holds no {BEST}: name a run's folder that has one, or a checkpoint")
        metrics = read_metrics(args.source / METRICS)
    out = args.out or out

    experiment = evaluation_of(checkpoint, args.data_root, args.gpu, args.split)
    with os_error_as_input_error(out):
        out.mkdir(parents=True, exist_ok=True)
    evaluation = experiment.score(detailed=True)
    write_predictions(out / PREDICTIONS, evaluation, experiment.class_names(), experiment.folder, args.split)
    # What the network knows of a video with another event's sound, it has seen; with another event's picture, heard.
    seen, heard = (experiment.score(detailed=True, mismatched=modality) for modality in ("audio", "visual"))
    report = Report(out, experiment, metrics, evaluation, seen, heard)
    page = report_page(report.title, report.lead, report.facts, report.sections())
    with os_error_as_input_error(out / PAGE), atomic_write(out / PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(out / PAGE)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The epochs of a run, NaN where a figure was not taken; none if the run has recorded none.

    Raises:
        InputError: the file is not what a run writes.
    """
    if not path.exists():
        return []
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [{name: float(value or math.nan) for name, value in row.items()} for row in csv.DictReader(file)]
        if any(not {"epoch", "loss"} <= row.keys() for row in rows):
            raise ValueError("it has no columns epoch and loss")
    except (OSError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise InputError(f"{path}: is not the metrics of a run: {error}") from error
    return rows


if __name__ == "__main__":
    run_command(main)
