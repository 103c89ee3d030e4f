"""The pages of videos that a report links to: what the network says of each, beside the truth."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dataset.annotations import video_ids
from dataset.extraction.video import VideoError, read_sound
from engine.evaluation import Evaluation
from engine.experiment import Experiment
from model import Prediction
from model.prediction import events_of
from tools.predict.video_page import Found, write_video_page

log = logging.getLogger(__name__)


class Link(NamedTuple):
    """A link to a page."""

    page: str
    video: str  # its file name


def write_video_pages(
    out: Path,
    videos: Mapping[str, Path],
    indices: Iterable[int],
    experiment: Experiment,
    evaluation: Evaluation,
    names: Sequence[str],
    warning: str | None,
) -> dict[int, Link]:
    """Write pages of the videos of an evaluation at ``indices``; gives links to them by index.

    A video that is missing among the files ``videos``, by id, or cannot be used, gets a warning and no page.
    """
    dataset, threshold = evaluation.dataset, experiment.threshold
    rows, region_shape = dataset.rows.tolist(), dataset.parts[0][0].shape[2:4]
    ids, pages = video_ids(experiment.folder.root, rows), {}
    for index in indices:
        page, file = f"video_{rows[index]:05d}.html", videos.get(ids[index])
        if file is None:
            log.warning("warning: row %d has no page: no video is called %s", rows[index], ids[index] or "by its id")
            continue
        truth = evaluation.truth[index].numpy()
        true_events = events_of(truth, np.ones(len(truth)), names)
        prediction = _prediction(evaluation, index, names, region_shape)
        try:
            found = Found(file, read_sound(file), prediction, names, threshold, warning, true_events)
            write_video_page(out / page, found)
        except VideoError as error:
            log.warning("warning: row %d has no page: %s %s", rows[index], file, error)
            continue
        pages[index] = Link(page, file.name)
    return pages


def _prediction(evaluation: Evaluation, index: int, names: Sequence[str], region_shape: tuple[int, int]) -> Prediction:
    """The prediction for a video of an evaluation whose maps have a height and width."""
    decisions = evaluation.decisions
    shown = (evaluation.predicted, decisions.event_probability, decisions.of_segments)
    predicted, event, classes = (each[index].numpy() for each in shown)
    observation = {
        name: values[index].numpy().reshape(len(event), *(region_shape if values.ndim == 3 else ()))
        for name, values in evaluation.observation.items()
    }
    return Prediction(events_of(predicted, event * classes.max(axis=1), names), predicted, event, classes, observation)
