"""What a network said of every segment, as a table that spreadsheets and scripts read."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import torch

from dataset.annotations import read_annotations
from dataset.ave import AVEFolder
from dataset.layout import ANNOTATIONS
from utils.atomic import atomic_write, reported_failure
from utils.errors import InputError
from utils.evaluation import Evaluation

COLUMNS = ("row", "id", "second", "truth", "predicted", "event_probability", "class_probability")
BACKGROUND = "background"


def video_ids(root: Path, rows: Sequence[int]) -> list[str]:
    """The ids that ``Annotations.txt`` has for rows of the features; empty where it does not say."""
    path = root / ANNOTATIONS
    annotations = read_annotations(path) if path.is_file() else []
    return [annotations[row].video_id if row < len(annotations) else "" for row in rows]


def require_folder(path: Path) -> None:
    """Check that a file can have this place, before long work goes into it.

    Raises:
        InputError: its folder is not there, or it is a folder itself.
    """
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent} to write it to")
    if path.is_dir():
        raise InputError(f"{path}: is a folder, expected the name of a file")


def write_predictions(
    path: Path, evaluation: Evaluation, class_names: Sequence[str], folder: AVEFolder, split: str
) -> None:
    """Write a detailed evaluation of a split as CSV, a line per segment.

    ``class_probability`` is that of the class which the network finds best for the video; where ``event_probability``
    is too low, the segment is background all the same.

    Raises:
        InputError: the file cannot be written.
    """
    names = [*class_names, BACKGROUND]
    rows = folder.split(split).rows.tolist()
    details = evaluation.details
    best = details.class_probability.max(dim=-1).values
    videos = zip(
        rows, video_ids(folder.root, rows), *map(torch.Tensor.tolist, (*evaluation[:2], details[0], best)), strict=True
    )
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row, video_id, predicted, truth, event_probability, class_probability in videos:
        for second, (answer, right, probability) in enumerate(zip(predicted, truth, event_probability, strict=True)):
            numbers = (f"{probability:.6f}", f"{class_probability:.6f}")
            writer.writerow((row, video_id, second, names[right], names[answer], *numbers))
    with reported_failure(path), atomic_write(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", newline="")
