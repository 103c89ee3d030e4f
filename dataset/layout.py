"""The folder layout of the AVE features: its files, and where to get them."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from configs import SPLITS
from utils.errors import InputError

ANNOTATIONS = "Annotations.txt"
OLD_LABELS = "labels.h5"

REPOSITORY = "the folder data/ of https://github.com/YapengTian/AVE-ECCV18"
_REPOSITORY_FILES = "https://raw.githubusercontent.com/YapengTian/AVE-ECCV18/HEAD/data/"


def _drive(file_id: str) -> str:
    return f"https://drive.google.com/uc?id={file_id}"


class DataFile(NamedTuple):
    """A file of the layout: the HDF5 data set in it, the number of its axes, and where to get AVE's."""

    key: str
    ndim: int
    source: str


FILES = {
    "visual_feature.h5": DataFile("avadataset", 5, _drive("1hQwbhutA3fQturduRnHMyfRqdrRHgmC9")),
    "audio_feature.h5": DataFile("avadataset", 3, _drive("1F6p4BAOY-i0fDXUOhG7xHuw_fnO5exBS")),
    "right_labels.h5": DataFile(
        "avadataset", 3, "python -m tools.make_labels makes it; labels.h5 of older releases serves too"
    ),
    "train_order.h5": DataFile("order", 1, REPOSITORY),
    "val_order.h5": DataFile("order", 1, REPOSITORY),
    "test_order.h5": DataFile("order", 1, REPOSITORY),
    "mil_labels.h5": DataFile("avadataset", 2, REPOSITORY),
    "visual_feature_noisy.h5": DataFile("avadataset", 5, _drive("1I3OtOHJ8G1-v5G2dHIGCfevHQPn-QyLh")),
    "audio_feature_noisy.h5": DataFile("avadataset", 3, REPOSITORY),
    "labels_noisy.h5": DataFile("avadataset", 2, REPOSITORY),
}
# By their names in the data folder, the files that tools.download gets: all but the labels per segment, which follow
# from the annotations.
DOWNLOADS = {
    name: _REPOSITORY_FILES + name if source == REPOSITORY else source
    for name, source in {ANNOTATIONS: REPOSITORY, **{name: file.source for name, file in FILES.items()}}.items()
    if name != "right_labels.h5"
}
# The authors' supervised checkpoint, by its path in the folder of runs.
PUBLISHED_CHECKPOINT = Path("Supv/Supervised_model.pth.tar")
PUBLISHED_CHECKPOINT_URL = _drive("1PjJC13edvwz8dTjsZs9MuPtCM8t4bogI")

# The rows of AVE's splits, as the SHA-256 of 8-byte little-endian numbers.
PUBLISHED_ORDERS = {
    "train": "c2fa7fd0418ccb8e6fab3320ac84ae8ea021be3c4dac7a1cd37bce7c837de128",
    "val": "beaf4c615b531350791ad7ea1c89879da8af0845ff41588983de228a681cffc4",
    "test": "11e263cc08c1118575f907774cd9bff2fabf621b8f84218698d7c2aa2186f442",
}

FEATURES = ("visual_feature.h5", "audio_feature.h5")
NOISY = ("visual_feature_noisy.h5", "audio_feature_noisy.h5", "labels_noisy.h5")

ORDERS = tuple(f"{split}_order.h5" for split in SPLITS)

# The files that training reads, evaluation on val and test included.
_BOTH_SETTINGS = (*FEATURES, "right_labels.h5", *ORDERS)
TRAINING_FILES = {"supervised": _BOTH_SETTINGS, "weakly": (*_BOTH_SETTINGS, "mil_labels.h5", *NOISY)}


def segment_label_file(root: Path) -> Path:
    """The file with labels per segment: ``right_labels.h5``, or ``labels.h5`` of older releases if it is alone."""
    right, old = root / "right_labels.h5", root / OLD_LABELS
    return right if right.exists() or not old.exists() else old


def find_file(root: Path, name: str) -> Path:
    """The path in ``root`` of a file of the layout, which may be missing."""
    return segment_label_file(root) if name == "right_labels.h5" else root / name


def require_files(root: Path, names: Iterable[str]) -> None:
    """Check that all files are there.

    Raises:
        InputError: lists the missing ones, where to get them, and how to make synthetic data instead.
    """
    missing = [name for name in names if not find_file(root, name).is_file()]
    if missing:
        width = max(map(len, missing))
        listing = "\n".join(
            f"  {name:{width}}  {'not a file: ' * (root / name).is_dir()}{FILES[name].source}" for name in missing
        )
        raise InputError(
            f"{len(missing)} data file{'s are' if len(missing) > 1 else ' is'} missing in {root}:\n{listing}\n"
            "Put them there, as python -m tools.download does, or name another folder with --data_root.\n"
            "To try the program without them, make synthetic data:\n"
            "  python -m tools.make_data --out data/synthetic --videos 280\n"
            "and run it with --data_root data/synthetic."
        )
