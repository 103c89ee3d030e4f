"""AVE as it was published: where its files are, its events and splits, and whether a folder holds it."""

from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import numpy as np

from configs.ave import EVENTS
from dataset.annotations import class_names, read_annotations
from dataset.hdf5 import stored_in
from dataset.labels import read_order
from dataset.layout import ANNOTATIONS, FEATURES, FILES, ORDERS, find_file
from dataset.size import AVE, LABELS
from utils.errors import InputError

_REPOSITORY = "the folder data/ of https://github.com/YapengTian/AVE-ECCV18"
_REPOSITORY_FILES = "https://raw.githubusercontent.com/YapengTian/AVE-ECCV18/HEAD/data/"
_DRIVE = "https://drive.google.com/uc?id="

# By name in the data folder, the files to download. The labels per segment follow from the annotations.
DOWNLOADS = {
    **{name: _REPOSITORY_FILES + name for name in (ANNOTATIONS, *FILES) if name != "right_labels.h5"},
    "visual_feature.h5": f"{_DRIVE}1hQwbhutA3fQturduRnHMyfRqdrRHgmC9",
    "audio_feature.h5": f"{_DRIVE}1F6p4BAOY-i0fDXUOhG7xHuw_fnO5exBS",
    "visual_feature_noisy.h5": f"{_DRIVE}1I3OtOHJ8G1-v5G2dHIGCfevHQPn-QyLh",
}
# The same for people.
SOURCES = {
    **{name: _REPOSITORY if url.startswith(_REPOSITORY_FILES) else url for name, url in DOWNLOADS.items()},
    "right_labels.h5": "python -m tools.make_labels makes it; labels.h5 of older releases serves too",
}
# The authors' supervised checkpoint, by its path in the folder of runs.
PUBLISHED_CHECKPOINT = Path("Supv/Supervised_model.pth.tar")
PUBLISHED_CHECKPOINT_URL = f"{_DRIVE}1PjJC13edvwz8dTjsZs9MuPtCM8t4bogI"
# The videos, with Annotations.txt and the lists of the splits, and the size of the file in bytes.
VIDEOS_ARCHIVE, VIDEOS_URL, VIDEOS_SIZE = "AVE_Dataset.zip", f"{_DRIVE}1FjKwe79e0u96vdjIVwfRQ1V6SoDHe7kK", 5_665_119_358

# The rows of the splits, as the SHA-256 of 8-byte little-endian numbers.
ORDER_DIGESTS = {
    "train_order.h5": "c2fa7fd0418ccb8e6fab3320ac84ae8ea021be3c4dac7a1cd37bce7c837de128",
    "val_order.h5": "beaf4c615b531350791ad7ea1c89879da8af0845ff41588983de228a681cffc4",
    "test_order.h5": "11e263cc08c1118575f907774cd9bff2fabf621b8f84218698d7c2aa2186f442",
}


def digest_of(order: np.ndarray) -> str:
    """The SHA-256 of the rows of a split, as in ``ORDER_DIGESTS``."""
    return sha256(order.astype("<i8").tobytes()).hexdigest()


def is_ave(root: Path) -> bool:
    """Whether a folder holds AVE, by its events, its number of videos or its splits; also if it holds nothing."""
    signs = []
    with suppress(InputError):
        signs.append(set(class_names(read_annotations(root / ANNOTATIONS))) == set(EVENTS))
    for name in (*FEATURES, *LABELS):
        with suppress(InputError):
            signs.append(stored_in(find_file(root, name)).shape[:1] == (AVE.videos,))
    for name in ORDERS:
        with suppress(InputError):
            signs.append(digest_of(read_order(root / name, AVE.videos)) == ORDER_DIGESTS[name])
    return any(signs) or not signs
