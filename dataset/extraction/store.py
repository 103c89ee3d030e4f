"""Features of single videos, kept until an AVE-layout folder is written, so that an extraction can resume."""

import json
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from dataset.annotations import Annotation, annotations_text, noisy_labels
from dataset.extraction.record import Settings, extraction_text, read_extraction
from dataset.features import write_features
from dataset.hdf5 import hdf5_image
from dataset.layout import ANNOTATIONS, EXTRACTION, FEATURES, FILES, NOISY
from utils.atomic import atomic_write
from utils.errors import InputError, os_error_as_input_error

FOLDER, SETTINGS, VIDEO_IDS = "extracted", "settings.json", "video_ids.txt"


class ExtractedFeatures:
    """A file per video in the subfolder ``extracted`` of a future AVE-layout folder, each written whole or not at all.

    An extraction resumes only with the same ``settings``, plain values that the features depend on; with ``overwrite``
    it starts again and replaces the contents of ``out``. Several processes may add videos at once.

    Args:
        noisy: events of the data set in ``out``, to which the videos are added as noisy ones; 0 if they are no such.

    Raises:
        InputError: ``out`` holds other features, or cannot be written.
    """

    def __init__(self, out: Path, settings: dict[str, object], overwrite: bool, noisy: int = 0) -> None:
        self.out, self.folder, self.settings = out, out / (f"{FOLDER}_noisy" if noisy else FOLDER), settings
        self.names, self.noisy = NOISY[:2] if noisy else FEATURES, noisy
        with os_error_as_input_error(out):
            if overwrite:
                shutil.rmtree(self.folder, ignore_errors=True)
            self._open(overwrite)

    def has(self, video_id: str, source: Path) -> bool:
        """Whether the features of a video exist and were made from the present version of its file."""
        try:
            with np.load(self._path(video_id)) as features:
                return features["source"].tolist() == _state(source)
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):  # missing, or damaged
            return False

    def add(self, video_id: str, source: Path, visual: np.ndarray, audio: np.ndarray) -> None:
        """Store the features of a video, made from the file ``source``."""
        path = self._path(video_id)
        with os_error_as_input_error(path), atomic_write(path, shared=True) as temporary, open(temporary, "wb") as file:
            np.savez(file, visual=visual, audio=audio, source=np.array(_state(source)))

    def write_layout(self, video_ids: Sequence[str], annotations: Sequence[Annotation] | None, dtype: str) -> None:
        """Write the feature files, ``video_ids.txt`` and ``extraction.json``, or the noisy files: all or none of them.

        The rows are those of ``video_ids``, in which a video may occur several times. ``Annotations.txt`` is written if
        there are annotations, one per row.
        """
        if self.noisy:
            others = {NOISY[2]: hdf5_image(FILES[NOISY[2]].key, noisy_labels(len(video_ids), self.noisy))}
        else:
            ids = "".join(f"{video_id}\n" for video_id in video_ids)
            others = {VIDEO_IDS: ids.encode(), EXTRACTION: extraction_text(self.settings).encode()}
        if annotations is not None:
            others[ANNOTATIONS] = annotations_text(annotations)
        write_features(self.out, self.names, video_ids, self._features, dtype, others)

    def remove(self) -> None:
        """Remove the files of single videos, after the layout's files hold their contents."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _open(self, overwrite: bool) -> None:
        path, settings = self.folder / SETTINGS, self.settings
        before = read_extraction(self.out) if self.noisy else {}
        if any(self.folder.glob("*.npz")):
            try:
                before = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                before = {"preprocessing": None}
        if before:
            before = {**asdict(Settings()), **before}  # an earlier version had no other networks and precision
            different = [name for name in settings if before.get(name) != settings[name]]
            if different:
                again = "" if self.noisy else ", or start again with --overwrite"
                raise InputError(
                    f"{self.out} holds features made with {_listed(before, different)}, "
                    f"not {_listed(settings, different)}: give the same{again}"
                )
        present = [name for name in self.names if (self.out / name).exists()]
        if present and not overwrite and not self.folder.exists():
            raise InputError(f"{self.out} already holds {present[0]}: name another folder, or give --overwrite")
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, shared=True) as temporary:
            temporary.write_text(extraction_text(settings), encoding="utf-8")

    def _features(self, video_id: str) -> list[np.ndarray]:
        with np.load(self._path(video_id)) as features:
            return [features["visual"], features["audio"]]

    def _path(self, video_id: str) -> Path:
        return self.folder / f"{video_id}.npz"


def _state(source: Path) -> list[int]:
    """Size and modification time: they change with the contents."""
    status = source.stat()
    return [status.st_size, status.st_mtime_ns]


def _listed(settings: dict[str, object], names: Sequence[str]) -> str:
    return ", ".join(f"{name} {settings.get(name)}" for name in names)
