"""Features of single videos, kept until an AVE-layout folder is written, so that an extraction can resume."""

import json
import shutil
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from dataset.annotations import Annotation
from dataset.extraction.record import extraction_text
from dataset.hdf5 import new_hdf5
from dataset.layout import ANNOTATIONS, EXTRACTION, FEATURES
from utils.atomic import atomic_write
from utils.errors import InputError, os_error_as_input_error
from utils.signals import deferred_signals

FOLDER, SETTINGS, VIDEO_IDS = "extracted", "settings.json", "video_ids.txt"


class ExtractedFeatures:
    """A file per video in the subfolder ``extracted`` of a future AVE-layout folder, each written whole or not at all.

    An extraction resumes only with the same ``settings``, plain values that the features depend on; with ``overwrite``
    it starts again and replaces the contents of ``out``.

    Raises:
        InputError: ``out`` holds other features, or cannot be written.
    """

    def __init__(self, out: Path, settings: dict[str, object], overwrite: bool) -> None:
        self.out, self.folder, self.settings = out, out / FOLDER, settings
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
        with os_error_as_input_error(path), atomic_write(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, visual=visual, audio=audio, source=np.array(_state(source)))

    def write_layout(self, video_ids: Sequence[str], annotations: Sequence[Annotation] | None, dtype: str) -> None:
        """Write the feature files, ``video_ids.txt`` and ``extraction.json``, all or none of them.

        The rows are those of ``video_ids``, in which a video may occur several times. ``Annotations.txt`` is written if
        there are annotations, one per row.
        """
        with os_error_as_input_error(self.out), deferred_signals() as deliver_signals, ExitStack() as stack:
            files = {name: stack.enter_context(new_hdf5(self.out / name)) for name in FEATURES}
            for row, video_id in enumerate(video_ids):
                deliver_signals()
                with np.load(self._path(video_id)) as features:
                    for name, modality in zip(FEATURES, ("visual", "audio"), strict=True):
                        values = features[modality]
                        if not row:
                            files[name].create_dataset("avadataset", (len(video_ids), *values.shape), dtype)
                        files[name]["avadataset"][row] = values
            texts = {
                VIDEO_IDS: "".join(f"{video_id}\n" for video_id in video_ids),
                EXTRACTION: extraction_text(self.settings),
            }
            if annotations is not None:
                texts[ANNOTATIONS] = "".join("&".join(map(str, annotation)) + "\n" for annotation in annotations)
            for name, text in texts.items():
                stack.enter_context(atomic_write(self.out / name)).write_text(text, encoding="utf-8")

    def remove(self) -> None:
        """Remove the files of single videos, after the layout's files hold their contents."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _open(self, overwrite: bool) -> None:
        path, settings = self.folder / SETTINGS, self.settings
        if path.exists():
            try:
                before = {"precision": "fp32", **json.loads(path.read_text(encoding="utf-8"))}  # the only one before
            except (ValueError, TypeError):
                before = {}
            different = [name for name in settings if before.get(name) != settings[name]]
            if different:
                raise InputError(
                    f"{self.folder} holds features made with {_listed(before, different)}, "
                    f"not {_listed(settings, different)}: give the same, or start again with --overwrite"
                )
            return
        present = [name for name in FEATURES if (self.out / name).exists()]
        if present and not overwrite:
            raise InputError(f"{self.out} already holds {present[0]}: name another folder, or give --overwrite")
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_text(extraction_text(settings), encoding="utf-8")

    def _path(self, video_id: str) -> Path:
        return self.folder / f"{video_id}.npz"


def _state(source: Path) -> list[int]:
    """Size and modification time: they change with the contents."""
    status = source.stat()
    return [status.st_size, status.st_mtime_ns]


def _listed(settings: dict[str, object], names: Sequence[str]) -> str:
    return ", ".join(f"{name} {settings.get(name)}" for name in names)
