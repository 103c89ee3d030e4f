"""Measures of event localization: how well events are named, and how well they are placed in time.

Classes are integers (n, t) for n videos of t segments: 0 to K - 1 are events, K is background. A video is partial if it
has both event and background segments: only partial videos show whether an event is placed.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from dataset.labels import video_events

IOU_THRESHOLDS = (0.3, 0.5, 0.7)  # 0.5 is the convention of audio-visual video parsing (Tian et al. 2020)
RESAMPLES = 2000  # of the bootstrap


class Measures(NamedTuple):
    """The measures of a split. Accuracy and recall are percentages; NaN if no segment or video counts."""

    accuracy: float  # of all segments
    accuracy_low: float  # 95 % interval of the accuracy, by bootstrap over videos
    accuracy_high: float
    event_recall: float  # event segments whose class is correct
    background_recall: float  # background segments that are predicted as such
    auc: float  # localization AUC, 0 to 1
    f1_iou30: float  # event-level F1 at temporal IoU 0.3, 0 to 1
    f1_iou50: float
    f1_iou70: float
    partial_accuracy: float  # the same on partial videos alone
    partial_f1_iou30: float
    partial_f1_iou50: float
    partial_f1_iou70: float
    named: float  # videos with an event whose event is named right


def measure(
    predicted: np.ndarray,
    truth: np.ndarray,
    num_events: int,
    event_probability: np.ndarray | None = None,
    named: np.ndarray | None = None,
) -> Measures:
    """Compute all measures of a split from classes (n, t).

    Args:
        event_probability: (n, t), of an event, whichever; without it there is no localization AUC.
        named: (n,), the event that each video is said to show; without it the one that most segments are predicted as.
    """
    correct, is_event, partial = predicted == truth, truth < num_events, partial_videos(truth, num_events)
    named = most_predicted_events(predicted, num_events) if named is None else named
    events = video_events(torch.from_numpy(truth), num_events).numpy()
    return Measures(
        _percent(correct),
        *bootstrap_interval(correct),
        _percent(correct[is_event]),
        _percent(correct[~is_event]),
        np.nan if event_probability is None else localization_auc(event_probability, truth, num_events),
        *event_f1(predicted, truth, num_events),
        _percent(correct[partial]),
        *event_f1(predicted[partial], truth[partial], num_events),
        _percent((named == events)[events < num_events]),
    )


def as_columns(split: str, measures: Measures | None) -> dict[str, float | None]:
    """The measures other than the accuracy as columns of ``metrics.csv``; None, an empty cell, without a value."""
    values = measures._asdict() if measures else dict.fromkeys(Measures._fields, np.nan)
    del values["accuracy"]
    return {f"{split}_{name}": None if np.isnan(value) else value for name, value in values.items()}


def from_columns(split: str, row: Mapping[str, str | float | None]) -> Measures | None:
    """The measures in a row of ``metrics.csv``; None if it has none, as in runs of release 1.0."""
    if row.get(f"{split}_accuracy_low") in (None, ""):
        return None
    cells = [row.get(f"{split}_{name}") for name in Measures._fields]  # earlier releases did not record all of them
    return Measures(*(np.nan if cell in (None, "") else float(cell) for cell in cells))


def yardsticks(truth: np.ndarray, num_events: int) -> dict[str, Measures]:
    """Measures of two predictions that place nothing: the video's right event in every segment, always background."""
    event, constant = video_events(torch.from_numpy(truth), num_events).numpy()[:, None], np.zeros(truth.shape)
    return {
        "event everywhere": measure(np.broadcast_to(event, truth.shape), truth, num_events, constant),
        "all background": measure(np.full_like(truth, num_events), truth, num_events, constant),
    }


def partial_videos(truth: np.ndarray, num_events: int) -> np.ndarray:
    """Whether each video (n,) has both event and background segments."""
    share = (truth < num_events).mean(axis=1)
    return (share > 0) & (share < 1)


def most_predicted_events(predicted: np.ndarray, num_events: int) -> np.ndarray:
    """The event (n,) that most segments (n, t) of each video are predicted as; background if none is."""
    counts = (predicted[..., None] == np.arange(num_events)).sum(axis=1)
    return np.where(counts.any(axis=1), counts.argmax(axis=1), num_events)


def bootstrap_interval(correct: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the segment accuracy in percent, by bootstrap over videos, from correctness (n, t).

    The segments of a video are not independent, therefore whole videos are drawn.
    """
    videos, segments = correct.shape
    # Videos with equally many correct segments are interchangeable, so it suffices to draw how many of each kind there
    # are: one multinomial draw a resample instead of n videos.
    kinds = np.bincount(correct.sum(axis=1), minlength=segments + 1)
    draws = np.random.default_rng(seed).multinomial(videos, kinds / videos, size=RESAMPLES)
    low, high = np.percentile(100 * (draws @ np.arange(segments + 1)) / correct.size, (2.5, 97.5))
    return float(low), float(high)


def localization_auc(event_probability: np.ndarray, truth: np.ndarray, num_events: int) -> float:
    """Mean over partial videos of the area under the ROC curve of the event probability; NaN without such videos.

    The area is the share of pairs of an event and a background segment of one video in which the event segment has the
    higher probability; ties count half. No threshold and no comparison between videos enters it.
    """
    areas = []
    for video in np.flatnonzero(partial_videos(truth, num_events)):
        is_event = truth[video] < num_events
        inside, outside = event_probability[video, is_event, None], event_probability[video, ~is_event]
        areas.append(np.mean((inside > outside) + 0.5 * (inside == outside)))
    return float(np.mean(areas)) if areas else np.nan


def event_f1(predicted: np.ndarray, truth: np.ndarray, num_events: int) -> tuple[float, float, float]:
    """Event-level F1 = 2 TP / (2 TP + FP + FN) over the split at each of ``IOU_THRESHOLDS``; NaN without any event.

    An event is a maximal run of segments of one class other than background. A predicted event is a true positive if it
    is matched with a true one of its class and their temporal IoU reaches the threshold. Each event is matched once,
    the best overlap first.
    """
    runs = _runs(predicted), _runs(truth)
    shared = (predicted == truth) & (truth < num_events)
    # A segment that two runs of one class share belongs to the intersection of these two.
    pairs, intersection = np.unique(np.stack([run[shared] for run in runs]), axis=1, return_counts=True)
    lengths = [np.bincount(run.ravel()) for run in runs]
    iou = intersection / (lengths[0][pairs[0]] + lengths[1][pairs[1]] - intersection)
    best_first = np.argsort(-iou, kind="stable")
    matched: list[float] = []
    taken: tuple[set[int], set[int]] = set(), set()
    for overlap, found, expected in zip(iou[best_first], *pairs[:, best_first].tolist(), strict=True):
        if found not in taken[0] and expected not in taken[1]:
            matched.append(overlap)
            taken[0].add(found)
            taken[1].add(expected)
    events = sum(len(np.unique(run[kind < num_events])) for run, kind in zip(runs, (predicted, truth), strict=True))
    if not events:
        return np.nan, np.nan, np.nan
    hits = (sum(overlap >= threshold for overlap in matched) for threshold in IOU_THRESHOLDS)
    low, middle, high = (float(2 * each / events) for each in hits)
    return low, middle, high


def _runs(classes: np.ndarray) -> np.ndarray:
    """Number the maximal runs of one class within a video: the run of each segment (n, t), from 0."""
    begins = np.ones(classes.shape, dtype=bool)
    begins[:, 1:] = classes[:, 1:] != classes[:, :-1]
    return begins.ravel().cumsum().reshape(classes.shape) - 1


def _percent(correct: np.ndarray) -> float:
    return 100 * float(correct.mean()) if correct.size else np.nan
