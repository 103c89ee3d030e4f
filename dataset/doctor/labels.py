"""Checks of label files: one-hot, and as the annotations say."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from dataset.annotations import BACKGROUND, Annotation, class_names, segment_labels, video_labels
from dataset.doctor.report import Report
from dataset.labels import read_labels
from dataset.layout import ANNOTATIONS, find_file
from utils.errors import InputError
from utils.wording import counted, listed

_SECONDS = 10  # annotations are in seconds: only with as many segments do they tell which ones have the event


def check_labels(report: Report, num_events: int, annotations: Sequence[Annotation] | None) -> None:
    """Check the label files that could be opened; ``annotations`` has one line per video."""
    videos, segments, noisy = report.size
    for name, shape in {
        "right_labels.h5": (videos, segments, num_events + 1),
        "mil_labels.h5": (videos, num_events + 1),
        "labels_noisy.h5": (noisy, num_events + 1),
    }.items():
        if name in report.data:
            with report.checking(name):
                path = find_file(report.root, name)
                labels = read_labels(path, shape)
                if name == "labels_noisy.h5":
                    _require_background(labels, path)
                elif annotations:
                    _require_agreement(labels, annotations, path)
                agreement = ", as annotated" if annotations and name != "labels_noisy.h5" else ""
                report.approve(name, f"ok, one-hot{agreement}")


def _require_background(labels: np.ndarray, path: Path) -> None:
    if rows := np.flatnonzero(labels[:, -1] == 0).tolist():
        count = counted(len(rows), "row is", "rows are")
        raise InputError(f"{path}: {count} labelled with an event, expected background throughout: {listed(rows)}")


def _require_agreement(labels: np.ndarray, annotations: Sequence[Annotation], path: Path) -> None:
    """Check one-hot labels, (n, t, K + 1) per segment or (n, K + 1) per video, against n annotations of K events."""
    names = [*class_names(annotations), BACKGROUND]
    if labels.ndim == 2:
        expected = video_labels(annotations)
    elif labels.shape[1] == _SECONDS:
        expected = segment_labels(annotations, _SECONDS)
    else:  # segments of another length: where there is an event, it must be the annotated one
        expected = np.where(labels[..., -1:] == 1, labels, video_labels(annotations)[:, None])
    rows = np.flatnonzero((labels != expected).reshape(len(labels), -1).any(axis=1)).tolist()
    if rows and _same_with_other_columns(expected, labels):
        raise InputError(f"{path}: has the columns of the events in another order than {ANNOTATIONS} names the events")
    if rows:
        raise InputError(
            f"{path}: differs from {ANNOTATIONS} in {len(rows)} of {len(labels)} rows ({listed(rows)}): one of them is "
            f"of another release. Row {rows[0]} is annotated {_in_words(expected[rows[0]], names)} and labelled "
            f"{_in_words(labels[rows[0]], names)}"
        )


def _same_with_other_columns(expected: np.ndarray, labels: np.ndarray) -> bool:
    """Whether the labels are the expected ones except for the order of their columns."""
    k = labels.shape[-1]
    together = expected.reshape(-1, k).T @ labels.reshape(-1, k) > 0  # (i, j): something of class i is labelled j
    return bool((together.sum(axis=0) <= 1).all() and (together.sum(axis=1) <= 1).all())


def _in_words(labels: np.ndarray, names: Sequence[str]) -> str:
    """The labels of a video, (t, K + 1) or (K + 1,): "4 x Truck, 6 x background"."""
    runs = [(names[k], len(list(run))) for k, run in groupby(np.atleast_2d(labels).argmax(axis=1))]
    return ", ".join(f"{length} x {name}" if len(runs) > 1 else name for name, length in runs)
