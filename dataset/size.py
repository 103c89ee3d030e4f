"""The size of a data set, as its files have it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py

from dataset.annotations import Annotation, class_names, read_annotations
from dataset.hdf5 import open_hdf5
from dataset.layout import ANNOTATIONS, FEATURES, FILES, NOISY, ORDERS, find_file

LABELS = ("right_labels.h5", "mil_labels.h5")


class Size(NamedTuple):
    """The size of a data set."""

    videos: int
    segments: int  # of a video
    noisy: int  # videos without an event
    events: int  # event classes
    visual_dim: int
    audio_dim: int


AVE = Size(videos=4143, segments=10, noisy=178, events=28, visual_dim=512, audio_dim=128)


def size_of(root: Path) -> Size:
    """The size of the data set in a folder; what no file tells is as in AVE.

    Raises:
        InputError: a file cannot be read.
    """
    paths = {name: find_file(root, name) for name in FILES}
    data = {name: open_hdf5(path, FILES[name].key) for name, path in paths.items() if path.exists()}
    annotations = root / ANNOTATIONS
    return common_size(data, read_annotations(annotations) if annotations.exists() else ())


def common_size(data: Mapping[str, h5py.Dataset], annotations: Sequence[Annotation]) -> Size:
    """The size on which most of the given files of the layout agree; what none of them tells is as in AVE."""

    def lengths(names: Sequence[str], axis: int) -> list[int]:
        return [data[name].shape[axis] for name in names if name in data and data[name].ndim == FILES[name].ndim]

    splits = lengths(ORDERS, 0)
    votes = Size(
        videos=[
            *([len(annotations)] if annotations else ()),
            *lengths((*LABELS, *FEATURES), 0),
            *([sum(splits)] if len(splits) == len(ORDERS) else ()),
        ],
        segments=lengths((LABELS[0], *FEATURES), 1),
        noisy=lengths(NOISY, 0),
        events=[
            *([len(class_names(annotations))] if annotations else ()),
            *(width - 1 for width in lengths(LABELS, -1)),
        ],
        visual_dim=lengths(FEATURES[:1], -1),
        audio_dim=lengths(FEATURES[1:], -1),
    )
    return Size(*(Counter(found).most_common(1)[0][0] if found else ave for found, ave in zip(votes, AVE, strict=True)))
