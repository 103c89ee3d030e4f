"""The annotation file of the AVE layout, and the labels that follow from it."""

import io
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from unicodedata import category

import numpy as np

from dataset.layout import ANNOTATIONS
from utils.errors import AccessError, InputError, reason_of
from utils.wording import counted

BACKGROUND = "background"  # the name of the last class
HEADER = "Category&VideoID&Quality&StartTime&EndTime"  # first line of the official archive's copy
FORM = "event&video id&quality&start&end"  # of the other lines
_CONTROLS = ("Cc", "Zl", "Zp")  # Unicode categories: controls, line and paragraph separators


class Annotation(NamedTuple):
    """One video: segments [start, end), in seconds, carry the event."""

    event: str
    video_id: str
    quality: str
    start: int
    end: int


def read_annotations(path: Path, num_segments: int | None = None) -> list[Annotation]:
    """Read the lines of an annotation file, each of ``FORM``, with or without the header line.

    Spreadsheets save such a file as UTF-8 or UTF-16 with a byte order mark, and lines with a comma in double quotes.

    Times lie within ``num_segments`` seconds, if given.

    Raises:
        AccessError: the system does not let the file be read.
        InputError: the file is not text, or a line, named by its number, is not of that form.
    """
    return list(_read_lines(path, num_segments).values())


def _read_lines(path: Path, num_segments: int | None = None) -> dict[int, Annotation]:
    """The annotations of a file by the number of their line."""
    try:
        contents = path.read_bytes()
        encoding = "utf-16" if contents.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig"
        lines = io.TextIOWrapper(io.BytesIO(contents), encoding).read().split("\n")
    except OSError as error:
        raise AccessError(f"{path}: cannot be read: {reason_of(error) or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text: {error}: save it as UTF-8") from error
    annotations = {}
    for number, line in enumerate(lines, start=1):
        if len(cell := line.strip()) > 1 and cell[0] == cell[-1] == '"':
            line = cell[1:-1].replace('""', '"')
        if not line.strip() or (number == 1 and line.strip() == HEADER):
            continue
        if control := next((character for character in line.strip() if category(character) in _CONTROLS), None):
            raise InputError(
                f"{path}, line {number}: {line[:80]!r} has the control character {control!a}, expected text alone"
            )
        fields = line.strip().split("&")
        if problem := _problem(fields):
            raise InputError(f"{path}, line {number}: {line[:80]!r} {problem}, expected '{FORM}'")
        start, end = map(int, fields[3:])
        if not start <= end <= (num_segments or end):
            limit = f" <= {num_segments}" if num_segments else ""
            raise InputError(
                f"{path}, line {number}: the event lasts from {start} to {end} s, expected 0 <= start <= end{limit}"
            )
        annotations[number] = Annotation(fields[0], fields[1], fields[2], start, end)
    if not annotations:
        raise InputError(f"{path}: has no annotations, expected a line '{FORM}' per video")
    return annotations


def _problem(fields: Sequence[str]) -> str | None:
    """What is wrong with the fields of a line; None if nothing is."""
    if len(fields) != 5:
        return f"has {counted(len(fields), 'field', 'fields')} between '&'"
    if not fields[0]:
        return "names no event"
    for name, time in zip(("start", "end"), fields[3:], strict=True):
        if not (time.isascii() and time.isdigit() and len(time) < 10):  # int() refuses thousands of digits
            return f"has the {name} {time[:20]!r}, but times are whole seconds, in digits alone"
    return None


def annotations_text(annotations: Sequence[Annotation]) -> bytes:
    """The contents of an ``Annotations.txt``."""
    return "".join("&".join(map(str, annotation)) + "\n" for annotation in annotations).encode()


def class_names(annotations: Sequence[Annotation]) -> list[str]:
    """The events by class index: in the order of their first appearance."""
    return list(dict.fromkeys(annotation.event for annotation in annotations))


def segments_are_seconds(annotations: Sequence[Annotation], num_segments: int) -> bool:
    """Whether segments last a second, as the times of annotations count: with ten of them, or with the last time."""
    return num_segments in (10, max(annotation.end for annotation in annotations))


def likely_mistakes(annotations: Sequence[Annotation]) -> list[str]:
    """Likely mistakes in annotations written by hand, a sentence each: misspelt events and repeated lines."""
    videos = Counter(annotation.event for annotation in annotations)
    lines = Counter((annotation.event, annotation.video_id) for annotation in annotations)
    alone = [event for event, count in videos.items() if count == 1] if max(videos.values(), default=0) > 1 else []
    return [
        *(f"only one video is annotated {event!r}: is it misspelt?" for event in alone),
        *(
            f"{count} lines annotate video {video_id!r} with {event!r}, expected one"
            for (event, video_id), count in lines.items()
            if count > 1
        ),
    ]


def segment_labels(annotations: Sequence[Annotation], num_segments: int = 10) -> np.ndarray:
    """One-hot labels (n, t, K + 1), float32: the event in its segments, background (the last column) elsewhere."""
    index = {name: k for k, name in enumerate(class_names(annotations))}
    labels = np.zeros((len(annotations), num_segments, len(index) + 1), dtype=np.float32)
    labels[..., -1] = 1
    for row, annotation in enumerate(annotations):
        segments = slice(annotation.start, annotation.end)
        labels[row, segments, -1] = 0
        labels[row, segments, index[annotation.event]] = 1
    return labels


def video_labels(annotations: Sequence[Annotation]) -> np.ndarray:
    """One-hot labels (n, K + 1), float32: the event of each video."""
    names = class_names(annotations)
    labels = np.zeros((len(annotations), len(names) + 1), dtype=np.float32)
    labels[np.arange(len(annotations)), [names.index(annotation.event) for annotation in annotations]] = 1
    return labels


def noisy_labels(num_videos: int, num_events: int) -> np.ndarray:
    """One-hot labels (num_videos, num_events + 1), float32, of videos without an event: background."""
    labels = np.zeros((num_videos, num_events + 1), dtype=np.float32)
    labels[:, -1] = 1
    return labels


def rows_of(subset: Path, annotations: Sequence[Annotation], allow_missing: bool = False) -> np.ndarray:
    """The rows (n,), int64, of the videos that a file such as ``trainSet.txt`` lists as annotation lines.

    A video is found by its event and id, which together are unique in AVE; quality and times may differ. With
    ``allow_missing``, lines without a row are left out.

    Raises:
        InputError: the file cannot be read, or a line has no row, or more than one, or the row of another line.
    """
    rows: dict[tuple[str, str], list[int]] = {}
    for row, annotation in enumerate(annotations):
        rows.setdefault((annotation.event, annotation.video_id), []).append(row)
    found = []
    for number, annotation in _read_lines(subset).items():
        name = f"{annotation.event}&{annotation.video_id}"
        candidates = rows.get((annotation.event, annotation.video_id), [])
        if len(candidates) > 1:
            raise InputError(
                f"{subset}, line {number}: the annotations have {len(candidates)} lines {name!r}, expected one: "
                "leave one of them there"
            )
        if not candidates and not allow_missing:
            raise InputError(
                f"{subset}, line {number}: the annotations have no line {name!r}: the clip has no features or no "
                "annotation, or its event or id is spelt otherwise there. Correct the line, or leave out all such "
                "lines with --allow_missing"
            )
        found += candidates
    if len(set(found)) < len(found):
        row = next(row for row in found if found.count(row) > 1)
        raise InputError(f"{subset}: has {annotations[row].event}&{annotations[row].video_id} more than once")
    return np.array(found, dtype=np.int64)


def video_ids(root: Path, rows: Sequence[int]) -> list[str]:
    """The video ids of some rows, from the ``Annotations.txt`` of a folder; empty strings if it has no such row."""
    path = root / ANNOTATIONS
    annotations = read_annotations(path) if path.is_file() else []
    return [annotations[row].video_id if row < len(annotations) else "" for row in rows]
