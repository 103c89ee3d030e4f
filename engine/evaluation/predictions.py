"""The predictions of a network for every segment, as CSV."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from dataset.annotations import BACKGROUND, video_ids
from engine.evaluation.evaluate import Evaluation
from utils.atomic import atomic_write
from utils.errors import InputError, os_error_as_input_error

FORMULA = re.compile(r"[=+\-@\t\r]")  # how a cell begins that a spreadsheet calculates
PLAIN_ID = re.compile(r"[A-Za-z0-9_-]+")  # such as those of YouTube, which may begin with a hyphen
COLUMNS = ("row", "id", "second", "truth", "predicted", "event_probability", "class_probability")


def require_writable_name(path: Path) -> None:
    """Before long work: an ``InputError`` if an output file has no directory yet, or is a directory itself."""
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no directory {path.parent} to write it to")
    if path.is_dir():
        raise InputError(f"{path}: is a directory, expected the name of a file")


def spreadsheet_safe(text: str) -> str:
    """Make text safe for a cell of a CSV file, whose reader may be a spreadsheet program.

    A single quote comes before text that begins with =, +, -, @, a tab or a carriage return, as OWASP recommends
    against CSV injection: a spreadsheet would calculate it as a formula. All other text stays as it is.
    """
    return f"'{text}" if FORMULA.match(text) else text


def write_predictions(path: Path, evaluation: Evaluation, class_names: Sequence[str], root: Path) -> None:
    """Write a detailed evaluation of a split of the data folder ``root`` as CSV, a line per segment.

    ``class_probability`` is that of the best class, also on segments that are background because their
    ``event_probability`` is below the threshold. Names and ids are ``spreadsheet_safe``. Ids that consist of letters,
    digits, - and _ stay as they are even if they begin with -, as some of AVE's do: they are harmless, and keys to
    other tables.
    """
    names = [*map(spreadsheet_safe, class_names), BACKGROUND]
    rows = evaluation.dataset.rows.tolist()
    ids = [each if PLAIN_ID.fullmatch(each) else spreadsheet_safe(each) for each in video_ids(root, rows)]
    event_probability, best = evaluation.decisions.event_probability, evaluation.decisions.best_probability
    columns = (evaluation.predicted, evaluation.truth, event_probability, best)
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row, video_id, *segments in zip(rows, ids, *map(torch.Tensor.tolist, columns), strict=True):
        for second, (found, expected, *probabilities) in enumerate(zip(*segments, strict=True)):
            numbers = (f"{probability:.6f}" for probability in probabilities)
            writer.writerow((row, video_id, second, names[expected], names[found], *numbers))
    with os_error_as_input_error(path), atomic_write(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", newline="")
