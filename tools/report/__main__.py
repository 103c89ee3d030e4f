"""A report on a checkpoint: one page, report.html, with its pictures beside it and inside it, and predictions.csv.

A run's folder gives the report on its best.pth.tar, with the curves of the training; a checkpoint alone gives the
same without them. It works for both settings and for the authors' checkpoints, which are scored as published.
"""

import argparse
import csv
import logging
import math
from pathlib import Path

from engine.run_folder import METRICS
from tools.arguments import checkpoint_of, data_root_option, gpu_option, source_argument, split_option, tool_parser
from utils.atomic import atomic_write
from utils.command import run_command
from utils.errors import InputError, os_error_as_input_error
from utils.log import log_to_terminal
from utils.packages import require_packages

log = logging.getLogger(__name__)

PAGE, PREDICTIONS = "report.html", "predictions.csv"


def parse_arguments() -> argparse.Namespace:
    parents = (source_argument(), data_root_option(), gpu_option(), split_option())
    parser = tool_parser("report", __doc__, *parents)
    add = parser.add_argument
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

    checkpoint, metrics = checkpoint_of(args.source), []
    out = args.source.with_name(args.source.name.removesuffix(".tar").removesuffix(".pth") + "_report")
    if args.source.is_dir():
        out = args.source / "report"
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
