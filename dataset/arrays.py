"""Features of which each video has a NumPy file of its own, ``.npy``, or ``.npz`` with one array."""

import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from dataset.annotations import Annotation, annotations_text
from dataset.features import channels_are_first, write_features
from dataset.layout import ANNOTATIONS, FEATURES
from utils.errors import InputError, reason_of
from utils.wording import counted, listed


def pack_arrays(folders: Sequence[Path], annotations: Sequence[Annotation], out: Path, dtype: str) -> None:
    """Write the features of the annotated videos in the layout, one row per annotation.

    The ``folders`` have arrays (t, h, w, c) or (t, c, h, w) of the pictures, and (t, d) or (d, t) of the sound.

    Raises:
        InputError: names what is missing, damaged or odd; ``out`` holds features already.
    """
    if present := [name for name in FEATURES if (out / name).exists()]:
        raise InputError(f"{out} already holds {present[0]}: name another folder")
    rows = [annotation.video_id for annotation in annotations]
    for folder in folders:
        if missing := [video_id for video_id in dict.fromkeys(rows) if not _file_of(folder, video_id)]:
            count = counted(len(missing), "video has", "videos have")
            raise InputError(f"{folder}: {count} no .npy or .npz file of the video's id: {listed(missing)}")
    lines = {ANNOTATIONS: annotations_text(annotations)}
    write_features(out, FEATURES, rows, partial(read_video, folders), dtype, lines)


def read_video(folders: Sequence[Path], video_id: str) -> list[np.ndarray]:
    """The features (t, h, w, c) and (t, d) of a video."""
    visual_file, audio_file = (_file_of(folder, video_id) for folder in folders)
    visual, audio = _array(visual_file), _array(audio_file)
    if channels_are_first((1, *visual.shape)):
        visual = np.moveaxis(visual, 1, -1)
    if audio.ndim == 2 and len(visual) == audio.shape[1] != audio.shape[0]:
        audio = audio.T
    if visual.ndim != 4:
        raise InputError(f"{visual_file}: shape {visual.shape}, expected (t, h, w, c)")
    if audio.ndim != 2 or len(audio) != len(visual):
        raise InputError(f"{audio_file}: shape {audio.shape}, expected ({len(visual)}, d)")
    return [visual, audio]


def _file_of(folder: Path, video_id: str) -> Path | None:
    paths = (folder / f"{video_id}{suffix}" for suffix in (".npy", ".npz"))
    return next((path for path in paths if path.is_file()), None)


def _array(path: Path) -> np.ndarray:
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = [loaded] if isinstance(loaded, np.ndarray) else list(loaded.values())
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as an array: {reason_of(error) or error}") from error
    if len(arrays) != 1 or arrays[0].dtype.kind != "f" or not arrays[0].size:
        found = [f"{array.shape} {array.dtype}" for array in arrays]
        raise InputError(f"{path}: holds {listed(found)}, expected one array of floating-point numbers")
    return arrays[0]
