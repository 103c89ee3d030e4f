"""The size of a data set, as its files have it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dataset.annotations import Annotation, class_names, read_annotations
from dataset.features import channels_are_first, require_channels_last
from dataset.hdf5 import Stored, stored_in
from dataset.layout import ANNOTATIONS, FEATURES, FILES, NOISY, ORDERS, find_file
from utils.errors import InputError

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
    """The size of the data set in a folder; what no file tells is as in AVE, except for the events.

    Raises:
        InputError: a file cannot be read or has another number of axes, or no file tells the number of events.
    """
    data = {}
    for name, (key, ndim) in FILES.items():
        if (path := find_file(root, name)).exists():
            shape, _ = data[name] = stored_in(path, key)
            if len(shape) != ndim:
                raise InputError(f"{path}: shape {shape}, expected {ndim} axes")
            if name.startswith("visual"):
                require_channels_last(path, shape)
    annotations = root / ANNOTATIONS
    size = common_size(data, read_annotations(annotations) if annotations.exists() else (), AVE._replace(events=0))
    if not size.events:
        raise InputError(f"{root}: no file tells the number of events: write {ANNOTATIONS}, or make the labels first")
    return size


def network_sizes(root: Path) -> dict[str, int]:
    """The sizes of a network that the data in a folder decide, by their names in its config.

    Raises:
        InputError: as ``size_of``.
    """
    size = size_of(root)
    return {"num_events": size.events, "visual_dim": size.visual_dim, "audio_dim": size.audio_dim}


def common_size(data: Mapping[str, Stored], annotations: Sequence[Annotation], default: Size) -> Size:
    """The size on which most of the given files of the layout agree; what none of them tells is as in ``default``."""

    def lengths(names: Sequence[str], axis: int) -> list[int]:
        shapes = {name: data[name].shape for name in names if name in data}
        return [shape[axis] for name, shape in shapes.items() if len(shape) == FILES[name].ndim]

    is_turned = FEATURES[0] in data and channels_are_first(data[FEATURES[0]].shape, default.visual_dim)
    splits = lengths(ORDERS, 0)
    votes = Size(
        videos=[
            *([len(annotations)] if annotations else ()),
            *lengths((*LABELS, *FEATURES), 0),
            *([sum(splits)] if len(splits) == len(ORDERS) else ()),
        ],
        segments=lengths((LABELS[0], *FEATURES, *NOISY[:2]), 1),
        noisy=lengths(NOISY, 0),
        events=[
            *([len(class_names(annotations))] if annotations else ()),
            *(width - 1 for width in lengths(LABELS, -1)),
        ],
        visual_dim=[] if is_turned else lengths((FEATURES[0], NOISY[0]), -1),
        audio_dim=lengths((FEATURES[1], NOISY[1]), -1),
    )
    pairs = zip(votes, default, strict=True)
    return Size(*(Counter(found).most_common(1)[0][0] if found else other for found, other in pairs))
