"""Audio-visual features and labels of an AVE-layout folder, read as they are asked for."""

import copy
import hashlib
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
from dataset.hdf5 import FAILURES, open_hdf5, read_all, require_stored
from dataset.layout import ANNOTATIONS, FEATURES, NOISY, require_files, segment_label_file
from utils.errors import InputError

MODALITIES = ("visual", "audio")


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
        require_stored(data, path)
        self.shape, self.dtype = data.shape, data.dtype
        if len(self.shape) != ndim or self.shape[-1] != width or 0 in self.shape:
            raise InputError(f"{path}: shape {self.shape}, expected {ndim} axes, none empty, the last one {width} long")
        if self.dtype.kind != "f":
            raise InputError(f"{path}: type {self.dtype}, expected floating-point numbers")

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, rows: Sequence[int], out: np.ndarray, places: Sequence[int]) -> None:
        """Read the given rows into ``out[place]`` (any float type) of the place that each has.

        Raises:
            InputError: a row cannot be read; the message names it.
        """
        data = self._open()
        as_stored = None if out.dtype == self.dtype else np.empty(self.shape[1:], self.dtype)
        try:
            for row, place in zip(rows, places, strict=True):
                if as_stored is None:
                    data.read_direct(out, np.s_[row], np.s_[place])
                else:  # NumPy converts faster than HDF5
                    data.read_direct(as_stored, np.s_[row])
                    with np.errstate(over="ignore"):  # infinite then, which stops training and names the row
                        out[place] = as_stored
        except FAILURES as error:
            raise InputError(f"{self.path}: row {row} cannot be read, the file is damaged: {error}") from error

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
        self.sources = [torch.arange(len(self))] * 2  # by modality: the video of the set whose features each one has

    def __len__(self) -> int:
        return len(self.rows)

    def mismatched(self, modality: str) -> "AVEDataset | None":
        """The set, labels per segment, with each video's ``visual`` or ``audio`` features from one of another event.

        That is the next such video in the set's order, and after the last one the first. Rows and labels stay. None
        where all videos show one event.
        """
        events = video_events(self.labels.argmax(dim=-1), self.labels.shape[-1] - 1)
        partners = partners_of_another_event(events)
        if partners is None:
            return None
        other = copy.copy(self)
        other.sources = [
            partners if name == modality else own for name, own in zip(MODALITIES, self.sources, strict=True)
        ]
        return other

    @property
    def num_bytes(self) -> int:
        """What the features take in memory, all at once."""
        return sum(
            len(self) * math.prod(files[0].shape[1:]) * self._dtype(files).itemsize
            for files in zip(*self.parts, strict=True)
        )

    def fingerprint(self) -> str:
        """What tells this set from another one: the rows, their labels, and the shapes and types of the features."""
        files = [(file.shape, str(file.dtype)) for part in self.parts for file in part]
        digest = hashlib.sha256(repr(files).encode())
        for tensor in (self.part_of, self.rows, self.labels):
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    def __getitem__(self, index: int) -> Batch:
        return Batch(*(tensor[0] for tensor in self.__getitems__([index])))

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        index = torch.as_tensor(indices)
        return Batch(self._read(0, index), self._read(1, index), self.labels[index], self.rows[index])

    def _read(self, modality: int, index: Tensor) -> Tensor:
        files = [part[modality] for part in self.parts]
        out = np.empty((len(index), *files[0].shape[1:]), self._dtype(files))
        source = self.sources[modality][index]
        for part, file in enumerate(files):
            places = torch.nonzero(self.part_of[source] == part).flatten()
            file.read(self.rows[source[places]].tolist(), out, places.tolist())
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
        labels = read_labels(segment_label_file(self.root), (*visual.shape[:2], self.num_events + 1))
        return AVEDataset([(visual, audio, labels, read_order(self.root / f"{name}_order.h5", len(visual)))], self.wide)

    def weakly_labelled(self) -> AVEDataset:
        """The weakly-supervised training set, labels per video: the train rows, then the noisy rows."""
        require_files(self.root, (*FEATURES, "mil_labels.h5", "train_order.h5", *NOISY))
        visual, audio = self._features(*FEATURES)
        labels = read_labels(self.root / "mil_labels.h5", (len(visual), self.num_events + 1))
        noisy_visual, noisy_audio = self._features(*NOISY[:2])
        noisy_labels = read_labels(self.root / "labels_noisy.h5", (len(noisy_visual), self.num_events + 1))
        if noisy_visual.shape[1:] != visual.shape[1:]:
            raise InputError(
                f"{noisy_visual.path}: videos of shape {noisy_visual.shape[1:]}, "
                f"expected {visual.shape[1:]} as in {visual.path.name}"
            )
        return AVEDataset(
            [
                (visual, audio, labels, read_order(self.root / "train_order.h5", len(visual))),
                (noisy_visual, noisy_audio, noisy_labels, np.arange(len(noisy_visual))),
            ],
            self.wide,
        )

    def class_names(self) -> list[str]:
        """The event names, by class index: of ``Annotations.txt``, or numbered where the folder has none."""
        names = self.annotated_names()
        if names is None:
            return [f"event {k}" for k in range(self.num_events)]
        if len(names) != self.num_events:
            raise InputError(
                f"{self.root / ANNOTATIONS}: names {len(names)} events, expected {self.num_events} (num_events of the "
                "config)"
            )
        return names

    def annotated_names(self) -> list[str] | None:
        """The event names of ``Annotations.txt``, however many it has; None where the folder has no such file."""
        path = self.root / ANNOTATIONS
        return class_names(read_annotations(path)) if path.is_file() else None

    def _features(self, visual_name: str, audio_name: str) -> tuple[FeatureFile, FeatureFile]:
        visual = FeatureFile(self.root / visual_name, ndim=5, width=self.widths[0])
        audio = FeatureFile(self.root / audio_name, ndim=3, width=self.widths[1])
        if visual.shape[:2] != audio.shape[:2]:
            raise InputError(
                f"{visual.path} has {visual.shape[0]} videos of {visual.shape[1]} segments, "
                f"{audio.path.name} {audio.shape[0]} of {audio.shape[1]}; expected the same"
            )
        return visual, audio


def video_events(classes: Tensor, num_events: int) -> Tensor:
    """The event of each video (n,) by the classes of its segments (n, t); ``num_events`` where it has none.

    A video has one event class; where labels have several, it is the largest index, as in the loss.
    """
    events = classes.where(classes < num_events, -1).amax(dim=1)
    return events.where(events >= 0, num_events)


def partners_of_another_event(events: Tensor) -> Tensor | None:
    """For each video the next one, cyclic, whose event (n,) is another one; None where there is no other event."""
    last_of_run = torch.nonzero(events != events.roll(-1)).flatten()  # the video after it has another event
    if not len(last_of_run):
        return None
    run = torch.searchsorted(last_of_run, torch.arange(len(events))) % len(last_of_run)
    return (last_of_run[run] + 1) % len(events)


def read_labels(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """One-hot labels, float32, of the given shape (n, K + 1) or (n, t, K + 1).

    Raises:
        InputError: they cannot be read, have another shape, or are not one-hot.
    """
    labels = open_hdf5(path)
    if labels.shape != shape:
        width_only = labels.shape[:-1] == shape[:-1]
        reason = f" ({shape[-1] - 1} events of the config and background)" if width_only else ""
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


def read_order(path: Path, num_rows: int) -> np.ndarray:
    """The row numbers (n,) of a split, int64, all of them less than ``num_rows``.

    Raises:
        InputError: they cannot be read, or are no such numbers.
    """
    order = open_hdf5(path, key="order")
    if order.ndim != 1 or order.dtype.kind not in "iu" or not 0 < len(order) <= num_rows:
        raise InputError(
            f"{path}: shape {order.shape}, type {order.dtype}, expected a list of row numbers, {num_rows} at most"
        )
    order = read_all(order, path).astype(np.int64)
    if order.min() < 0 or order.max() >= num_rows:
        raise InputError(f"{path}: row numbers from {order.min()} to {order.max()}, expected 0 to {num_rows - 1}")
    return order
