"""The folder layout of the AVE features: the names of its files and the HDF5 data sets in them."""

from pathlib import Path
from typing import NamedTuple

from configs import SPLITS

ANNOTATIONS = "Annotations.txt"
EXTRACTION = "extraction.json"  # settings of tools.extract_features, which made the features
OLD_LABELS = "labels.h5"


class DataFile(NamedTuple):
    """The HDF5 data set in a file of the layout."""

    key: str
    ndim: int


FILES = {
    "visual_feature.h5": DataFile("avadataset", 5),
    "audio_feature.h5": DataFile("avadataset", 3),
    "right_labels.h5": DataFile("avadataset", 3),
    "train_order.h5": DataFile("order", 1),
    "val_order.h5": DataFile("order", 1),
    "test_order.h5": DataFile("order", 1),
    "mil_labels.h5": DataFile("avadataset", 2),
    "visual_feature_noisy.h5": DataFile("avadataset", 5),
    "audio_feature_noisy.h5": DataFile("avadataset", 3),
    "labels_noisy.h5": DataFile("avadataset", 2),
}
FEATURES = ("visual_feature.h5", "audio_feature.h5")
NOISY = ("visual_feature_noisy.h5", "audio_feature_noisy.h5", "labels_noisy.h5")
ORDERS = tuple(f"{split}_order.h5" for split in SPLITS)

# The files that training reads, evaluation on val and test included.
_BOTH_SETTINGS = (*FEATURES, "right_labels.h5", *ORDERS)
TRAINING_FILES = {"supervised": _BOTH_SETTINGS, "weakly": (*_BOTH_SETTINGS, "mil_labels.h5", *NOISY)}


def training_files(root: Path, setting: str) -> tuple[str, ...]:
    """The files that training in ``root`` reads: without the noisy set, if that is absent altogether."""
    return tuple(name for name in TRAINING_FILES[setting] if name not in NOISY or has_noisy_set(root))


def has_noisy_set(root: Path) -> bool:
    """Whether a folder has at least one file of the noisy set, and therefore needs all of them."""
    return any((root / name).exists() for name in NOISY)


def segment_label_file(root: Path) -> Path:
    """The file with labels per segment: ``right_labels.h5``, or ``labels.h5`` of older releases if it is alone."""
    right, old = root / "right_labels.h5", root / OLD_LABELS
    return right if right.exists() or not old.exists() else old


def find_file(root: Path, name: str) -> Path:
    """The path in ``root`` of a file of the layout, which may be missing."""
    return segment_label_file(root) if name == "right_labels.h5" else root / name
