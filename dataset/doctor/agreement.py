"""Whether label files say what the annotations say."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from dataset.annotations import Annotation, class_names, segment_labels, video_labels
from dataset.doctor.findings import listed

_SECONDS = 10  # annotations are in seconds; they say which segments have the event where these are seconds too


def disagreement(annotations: Sequence[Annotation], labels: np.ndarray) -> str | None:
    """What is wrong with one-hot ``labels``, (n, t, K + 1) per segment or (n, K + 1) per video; None if nothing is.

    The annotations have as many videos and as many events as the labels.
    """
    names = [*class_names(annotations), "background"]
    if labels.ndim == 2:
        expected = video_labels(annotations)
    elif labels.shape[1] == _SECONDS:
        expected = segment_labels(annotations, _SECONDS)
    else:  # segments of another length: where an event is shown, it must be the annotated one
        expected = np.where(labels[..., -1:] == 1, labels, video_labels(annotations)[:, None])
    differs = (labels != expected).reshape(len(labels), -1).any(axis=1)
    if not differs.any():
        return None
    if _same_with_other_columns(expected, labels):
        return "has the columns of the events in another order than the events appear in the annotations"
    rows = np.flatnonzero(differs).tolist()
    examples = "; ".join(
        f"row {row} is annotated {_in_words(expected[row], names)} and labelled {_in_words(labels[row], names)}"
        for row in rows[:3]
    )
    return f"disagrees with the annotations in {len(rows)} of {len(labels)} rows ({listed(rows)}): {examples}"


def _same_with_other_columns(expected: np.ndarray, labels: np.ndarray) -> bool:
    """Whether the labels are as expected but for the order of their columns, the last one aside."""
    k = labels.shape[-1]
    together = expected.reshape(-1, k).T @ labels.reshape(-1, k)  # segments of class i that are labelled j
    return bool(((together > 0).sum(axis=0) <= 1).all() and ((together > 0).sum(axis=1) <= 1).all())


def _in_words(labels: np.ndarray, names: Sequence[str]) -> str:
    """The labels of a video, (t, K + 1) or (K + 1,): "Truck 0-4, background 4-10"."""
    if labels.ndim == 1:
        return names[labels.argmax()]
    classes = labels.argmax(axis=1)
    starts = [0, *(np.flatnonzero(np.diff(classes)) + 1), len(classes)]
    return ", ".join(f"{names[classes[start]]} {start}-{end}" for start, end in pairwise(starts))
