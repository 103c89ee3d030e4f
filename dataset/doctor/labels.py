"""Checks of label files: one-hot, and as the annotations say."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from dataset.annotations import BACKGROUND, Annotation, class_names, segment_labels, segments_are_seconds, video_labels
from dataset.doctor.report import WARNING, Report
from dataset.labels import keep_one_event, read_stored_labels
from dataset.layout import ANNOTATIONS, find_file
from utils.errors import InputError
from utils.wording import counted, listed

_RULE = "Of several events in a segment, the one with the largest index counts"


def check_labels(report: Report, annotations: Sequence[Annotation] | None) -> None:
    """Check the label files that could be opened; ``annotations`` has one line per video."""
    size = report.size
    for name, shape in {
        "right_labels.h5": (size.videos, size.segments, size.events + 1),
        "mil_labels.h5": (size.videos, size.events + 1),
        "labels_noisy.h5": (size.noisy, size.events + 1),
    }.items():
        if name in report.data:
            with report.checking(name):
                path = find_file(report.root, name)
                labels = read_stored_labels(path, shape)
                if labels.ndim == 3:
                    report.eventful = labels[..., -1].min(axis=1) == 0
                if name == "labels_noisy.h5":
                    _require_background(labels, path)
                elif annotations:
                    _compare_with_annotations(report, name, labels, annotations)
                elif rows := np.unique(np.nonzero(labels.sum(axis=-1) > 1)[0]).tolist():
                    count = counted(len(rows), "row", "rows")
                    message = f"{path}: several events in a segment of {count}: {listed(rows)}. {_RULE}"
                    report.add(WARNING, [name], message)
                report.approve(name, "ok, one-hot")


def _require_background(labels: np.ndarray, path: Path) -> None:
    if rows := np.flatnonzero(labels[:, -1] == 0).tolist():
        count = counted(len(rows), "row is", "rows are")
        raise InputError(f"{path}: {count} labelled with an event, expected background throughout: {listed(rows)}")


def _compare_with_annotations(report: Report, name: str, labels: np.ndarray, annotations: Sequence[Annotation]) -> None:
    """Compare labels, (n, t, K + 1) per segment or (n, K + 1) per video, with n annotations of K events.

    Some other labels are a warning, for AVE's older release has them. Others throughout, or the same ones in another
    order, cannot be meant.
    """
    path = find_file(report.root, name)
    expected = video_labels(annotations)
    if labels.ndim == 3 and segments_are_seconds(annotations, report.size.segments):
        expected = segment_labels(annotations, report.size.segments)
    elif labels.ndim == 3:  # where there is an event, it must be the annotated one
        expected = np.where(labels[..., -1:] == 1, labels, expected[:, None])
    rows = np.flatnonzero((labels != expected).reshape(len(labels), -1).any(axis=1)).tolist()
    if not rows:
        report.approve(name, "ok, one-hot, as annotated")
        return
    one_hot = keep_one_event(labels)
    if _columns_are_permuted(expected, one_hot):
        raise InputError(f"{path}: has the columns of the events in another order than {ANNOTATIONS} names the events")
    if len(rows) > 1 and sorted(map(bytes, one_hot[rows])) == sorted(map(bytes, expected[rows])):
        raise InputError(f"{path}: has {len(rows)} rows in another order than {ANNOTATIONS}: {listed(rows)}")
    names = [*class_names(annotations), BACKGROUND]
    message = (
        f"{path}: differs from {ANNOTATIONS} in {len(rows)} of {counted(len(labels), 'row', 'rows')} ({listed(rows)}). "
        f"Row {rows[0]} is annotated {_in_words(expected[rows[0]], names)} and labelled "
        f"{_in_words(labels[rows[0]], names)}"
    )
    if len(rows) > len(labels) / 2:
        raise InputError(f"{message}. The two files do not belong together")
    rule = f". {_RULE}" if (labels != one_hot).any() else ""
    report.add(WARNING, [name], f"{message}. Training uses the labels as they are{rule}", report.cure(name))
    report.approve(name, "see below")


def _columns_are_permuted(expected: np.ndarray, labels: np.ndarray) -> bool:
    """Whether most of each class has the label of another one, and no two classes that of the same."""
    k = labels.shape[-1]
    together = expected.reshape(-1, k).T @ labels.reshape(-1, k)  # (i, j): how much of class i is labelled j
    label_of, present = together.argmax(axis=1), together.any(axis=1)
    return bool((label_of != np.arange(k))[present].any()) and len(set(label_of[present])) == present.sum()


def _in_words(labels: np.ndarray, names: Sequence[str]) -> str:
    """The labels of a video, (t, K + 1) or (K + 1,): "4 x Truck + Bark, 6 x background"."""
    classes = [" + ".join(names[k] for k in np.flatnonzero(segment)) for segment in np.atleast_2d(labels)]
    runs = [(name, len(list(run))) for name, run in groupby(classes)]
    return ", ".join(f"{length} x {name}" if len(runs) > 1 else name for name, length in runs)
