"""Features of which each video has a NumPy file of its own, ``.npy``, or ``.npz`` with one array."""

import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from dataset.annotations import Annotation, annotations_text
from dataset.features import channels_are_first, write_features
from dataset.layout import ANNOTATIONS, FEATURES
from utils.atomic import require_room
from utils.errors import InputError, reason_of
from utils.wording import counted, listed

_FORMS = ("(t, h, w, c)", "(t, d)")


def pack_arrays(folders: Sequence[Path], annotations: Sequence[Annotation], out: Path, dtype: str) -> None:
    """Write the features of the annotated videos in the layout, one row per annotation.

    Args:
        folders: of the visual features (t, h, w, c) or (t, c, h, w), and of the audio features (t, d) or (d, t).

    Raises:
        InputError: names each video without a file, or the file that is damaged or has another shape than the first
            one; ``out`` holds features already.
    """
    if present := [name for name in FEATURES if (out / name).exists()]:
        raise InputError(f"{out} already holds {present[0]}: name another folder")
    rows = [annotation.video_id for annotation in annotations]
    for folder in folders:
        if missing := [video_id for video_id in dict.fromkeys(rows) if not _file_of(folder, video_id)]:
            count = counted(len(missing), "video has", "videos have")
            raise InputError(f"{folder}: {count} no .npy or .npz file of the video's id: {listed(missing)}")
    first = read_video(folders, rows[0])
    require_room(out, sum(array.size for array in first) * len(rows) * np.dtype(dtype).itemsize)
    read = partial(read_video, folders, shapes=[array.shape for array in first])
    write_features(out, FEATURES, rows, read, dtype, {ANNOTATIONS: annotations_text(annotations)})


def read_video(folders: Sequence[Path], video_id: str, shapes: Sequence = (None, None)) -> list[np.ndarray]:
    """The features (t, h, w, c) and (t, d) of a video, of the ``shapes`` that are given."""
    paths = [_file_of(folder, video_id) for folder in folders]
    visual, audio = map(_array, paths)
    if channels_are_first((1, *visual.shape)):
        visual = np.moveaxis(visual, 1, -1)
    if audio.ndim == 2 and len(visual) == audio.shape[1] != audio.shape[0]:
        audio = audio.T
    for path, array, form, shape in zip(paths, (visual, audio), _FORMS, shapes, strict=True):
        if array.ndim != form.count(",") + 1 or len(array) != len(visual) or shape not in (None, array.shape):
            raise InputError(f"{path}: shape {array.shape}, expected {shape or f'{form}, with the t of both'}")
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
