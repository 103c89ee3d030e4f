"""Audio-visual features and labels of an AVE-layout folder, read as they are asked for."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dataset.annotations import class_names, read_annotations
from dataset.hdf5 import FAILURES, open_hdf5, read_all
from dataset.layout import ANNOTATIONS, FEATURES, NOISY, find_file, require_files
from utils.errors import InputError


class Batch(NamedTuple):
    """Some videos of a data set."""

    visual: Tensor  # (b, t, h, w, 512)
    audio: Tensor  # (b, t, 128)
    labels: Tensor  # (b, t, K + 1) per segment or (b, K + 1) per video, one-hot, float32
    rows: Tensor  # (b,), row numbers in their feature file, int64


class FeatureFile:
    """One HDF5 file of features, opened on first use in each process that reads it.

    HDF5 handles do not survive a fork, so a DataLoader worker opens its own.

    Args:
        path: the file.
        ndim: how many axes its data must have.
        width: the length that its last axis must have.

    Raises:
        InputError: the file is no HDF5, has no such data set, or its shape or type does not fit.
    """

    def __init__(self, path: Path, ndim: int, width: int) -> None:
        self.path = path
        self._handle: h5py.Dataset | None = None
        self._process = None
        data = self._open()
        self.shape, self.dtype = data.shape, data.dtype
        if len(self.shape) != ndim or self.shape[-1] != width or 0 in self.shape:
            raise InputError(f"{path}: shape {self.shape}, expected {ndim} axes, none empty, the last one {width} long")
        if self.dtype.kind != "f":
            raise InputError(f"{path}: type {self.dtype}, expected floating-point numbers")

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, rows: Sequence[int], dtype: np.dtype) -> np.ndarray:
        """The given rows, in the given order, as ``dtype``: (len(rows), ...)."""
        data = self._open()
        out = np.empty((len(rows), *self.shape[1:]), dtype=dtype)
        try:
            for i, row in enumerate(rows):
                out[i] = data[row]
        except FAILURES as error:
            raise InputError(f"{self.path}: row {row} cannot be read, the file is damaged: {error}") from error
        return out

    def _open(self) -> h5py.Dataset:
        if self._handle is None or self._process != os.getpid():
            self._handle = open_hdf5(self.path)
            self._process = os.getpid()
        return self._handle

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_handle": None}


class AVEDataset(Dataset):
    """Rows of one or more pairs of feature files, with their labels.

    Items are read one (``dataset[i]``) or several at a time (``dataset.__getitems__``, which a DataLoader uses).
    float16 features stay float16; any other type becomes ``wide``.
    """

    def __init__(
        self, parts: Sequence[tuple[FeatureFile, FeatureFile, np.ndarray, np.ndarray]], wide: torch.dtype
    ) -> None:
        """``parts``: visual and audio features, labels of all their rows, and the rows that belong to the set."""
        self.parts = [(visual, audio) for visual, audio, _, _ in parts]
        self.rows = torch.from_numpy(np.concatenate([rows for *_, rows in parts]))
        self.part_of = torch.from_numpy(np.repeat(np.arange(len(parts)), [len(rows) for *_, rows in parts]))
        self.labels = torch.from_numpy(np.concatenate([labels[rows] for *_, labels, rows in parts]))
        self.wide = wide

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def num_bytes(self) -> int:
        """What the features take in memory, all at once."""
        return sum(
            len(self) * math.prod(files[0].shape[1:]) * self._dtype(files).itemsize
            for files in zip(*self.parts, strict=True)
        )

    def __getitem__(self, index: int) -> Batch:
        return Batch(*(tensor[0] for tensor in self.__getitems__([index])))

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        index = torch.as_tensor(indices)
        return Batch(self._read(0, index), self._read(1, index), self.labels[index], self.rows[index])

    def _read(self, modality: int, index: Tensor) -> Tensor:
        files = [part[modality] for part in self.parts]
        dtype = self._dtype(files)
        out = np.empty((len(index), *files[0].shape[1:]), dtype=dtype)
        for part, file in enumerate(files):
            chosen = (self.part_of[index] == part).numpy()
            out[chosen] = file.read(self.rows[index][chosen].tolist(), dtype)
        return torch.from_numpy(out)

    def _dtype(self, files: Sequence[FeatureFile]) -> np.dtype:
        narrow = all(file.dtype == np.float16 for file in files)
        return np.dtype(np.float16 if narrow else str(self.wide).removeprefix("torch."))


class AVEFolder:
    """A folder in the AVE layout, as one experiment sees it.

    Args:
        root: the folder.
        num_events: K, the event classes that the labels must have besides background.
        visual_dim, audio_dim: the feature widths that the files must have.
        wide: what features that are not float16 become, ``torch.float32`` or ``torch.float64``.
    """

    def __init__(self, root: Path, num_events: int, visual_dim: int, audio_dim: int, wide: torch.dtype) -> None:
        self.root = root
        self.num_events = num_events
        self.widths = (visual_dim, audio_dim)
        self.wide = wide

    def split(self, name: str) -> AVEDataset:
        """A split (``train``, ``val`` or ``test``) with labels per segment."""
        require_files(self.root, (*FEATURES, "right_labels.h5", f"{name}_order.h5"))
        visual, audio = self._features(*FEATURES)
        labels = self._labels("right_labels.h5", (len(visual), visual.shape[1], self.num_events + 1))
        return AVEDataset([(visual, audio, labels, self._order(name, len(visual)))], self.wide)

    def weakly_labelled(self) -> AVEDataset:
        """The weakly-supervised training set, labels per video: the train rows, then the noisy rows."""
        require_files(self.root, (*FEATURES, "mil_labels.h5", "train_order.h5", *NOISY))
        visual, audio = self._features(*FEATURES)
        labels = self._labels("mil_labels.h5", (len(visual), self.num_events + 1))
        noisy_visual, noisy_audio = self._features(*NOISY[:2])
        noisy_labels = self._labels("labels_noisy.h5", (len(noisy_visual), self.num_events + 1))
        if noisy_visual.shape[1:] != visual.shape[1:]:
            raise InputError(
                f"{noisy_visual.path}: videos of shape {noisy_visual.shape[1:]}, "
                f"expected {visual.shape[1:]} as in {visual.path.name}"
            )
        return AVEDataset(
            [
                (visual, audio, labels, self._order("train", len(visual))),
                (noisy_visual, noisy_audio, noisy_labels, np.arange(len(noisy_visual))),
            ],
            self.wide,
        )

    def class_names(self) -> list[str]:
        """The event names, by class index: of ``Annotations.txt``, or numbered where the folder has none."""
        path = self.root / ANNOTATIONS
        if not path.is_file():
            return [f"event {k}" for k in range(self.num_events)]
        names = class_names(read_annotations(path))
        if len(names) != self.num_events:
            raise InputError(
                f"{path}: names {len(names)} events, expected {self.num_events} (num_events of the config)"
            )
        return names

    def _features(self, visual_name: str, audio_name: str) -> tuple[FeatureFile, FeatureFile]:
        visual = FeatureFile(self.root / visual_name, ndim=5, width=self.widths[0])
        audio = FeatureFile(self.root / audio_name, ndim=3, width=self.widths[1])
        if visual.shape[:2] != audio.shape[:2]:
            raise InputError(
                f"{visual.path} has {visual.shape[0]} videos of {visual.shape[1]} segments, "
                f"{audio.path.name} {audio.shape[0]} of {audio.shape[1]}; expected the same"
            )
        return visual, audio

    def _labels(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        path = find_file(self.root, name)
        labels = open_hdf5(path)
        if labels.shape != shape:
            width_only = labels.shape[:-1] == shape[:-1]
            reason = f" ({self.num_events} events of the config and background)" if width_only else ""
            raise InputError(f"{path}: shape {labels.shape}, expected {shape}{reason}")
        if labels.dtype.kind not in "fiub":
            raise InputError(f"{path}: type {labels.dtype}, expected numbers")
        labels = read_all(labels, path).astype(np.float32)
        one_hot = np.isin(labels, (0, 1)).all(axis=-1) & (labels.sum(axis=-1) == 1)
        if not one_hot.all():
            rows = np.unique(np.nonzero(~one_hot)[0])
            raise InputError(
                f"{path}: the labels of {len(rows)} rows are not one-hot (row {rows[0]} is the first), "
                "expected a 1 for the class and 0 for the others"
            )
        return labels

    def _order(self, split: str, num_rows: int) -> np.ndarray:
        path = self.root / f"{split}_order.h5"
        order = open_hdf5(path, key="order")
        if order.ndim != 1 or order.dtype.kind not in "iu" or not len(order):
            raise InputError(f"{path}: shape {order.shape}, type {order.dtype}, expected a list of row numbers")
        order = read_all(order, path).astype(np.int64)
        if order.min() < 0 or order.max() >= num_rows:
            raise InputError(f"{path}: row numbers from {order.min()} to {order.max()}, expected 0 to {num_rows - 1}")
        return order
