"""Videos of an AVE-layout folder: their features, read on demand, and their labels."""

import copy
import hashlib
import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dataset.annotations import class_names, read_annotations, video_ids
from dataset.extraction.record import read_extraction
from dataset.features import FeatureFile
from dataset.labels import read_labels, read_order, video_events
from dataset.layout import ANNOTATIONS, FEATURES, NOISY, has_noisy_set, segment_label_file
from dataset.sources import require_files
from model.network import NetworkConfig
from utils.errors import InputError
from utils.wording import listed

MODALITIES = ("visual", "audio")


class Batch(NamedTuple):
    """Some videos of a data set: features and labels."""

    visual: Tensor  # (b, t, h, w, 512)
    audio: Tensor  # (b, t, 128)
    labels: Tensor  # (b, t, K + 1) per segment or (b, K + 1) per video, one-hot, float32


class AVEDataset(Dataset):
    """Rows of one or more pairs of feature files, with their labels.

    Items are read one (``dataset[i]``) or several at a time (``dataset.__getitems__``, which a DataLoader uses).

    Args:
        parts: visual and audio features, labels of all their rows, and the rows that belong to the data set.
        dtype: of features that are not stored as float16; those stay float16.
    """

    def __init__(
        self,
        parts: Sequence[tuple[FeatureFile, FeatureFile, np.ndarray, np.ndarray]],
        dtype: torch.dtype,
        split: str = "train",
    ) -> None:
        self.split = split
        self.parts = [(visual, audio) for visual, audio, _, _ in parts]
        self.rows = torch.from_numpy(np.concatenate([rows for *_, rows in parts]))
        self.part_of = torch.from_numpy(np.repeat(np.arange(len(parts)), [len(rows) for *_, rows in parts]))
        self.labels = torch.from_numpy(np.concatenate([labels[rows] for *_, labels, rows in parts]))
        self.dtype = dtype
        self.sources = [torch.arange(len(self))] * 2  # by modality: the video that each one's features are of

    def __len__(self) -> int:
        return len(self.rows)

    def mismatched(self, modality: str) -> "AVEDataset | None":
        """A copy in which each video has the ``visual`` or ``audio`` features of a video of another event.

        It is the next such video in the order of the data set, cyclically. Rows and labels (per segment) stay the same.
        None if all videos show one event.
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
    def num_segments(self) -> int:
        """Segments of a video."""
        return self.parts[0][0].shape[1]

    @property
    def num_bytes(self) -> int:
        """Memory that all features take at once."""
        return sum(
            len(self) * math.prod(files[0].shape[1:]) * self._dtype(files).itemsize
            for files in zip(*self.parts, strict=True)
        )

    def fingerprint(self) -> str:
        """A hash of the rows, their labels, and the shapes and types of the features."""
        files = [(file.shape, str(file.dtype)) for part in self.parts for file in part]
        digest = hashlib.sha256(repr(files).encode())
        for tensor in (self.part_of, self.rows, self.labels):
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    def close(self) -> None:
        """Close the feature files; the next read opens them again."""
        for file in chain(*self.parts):
            file.close()

    def require_finite(self, finite: Tensor) -> None:
        """Refuse features that are not finite; ``finite`` (n, 2): whether the visual and audio ones of each video are.

        Raises:
            InputError: names the split, the file, and the rows and ids of those that are not.
        """
        for modality, source in enumerate(self.sources):
            videos = source[~finite[:, modality]].tolist()
            if videos:
                raise InputError(
                    f"{self.parts[0][modality].path.parent}: features of the {self.split} split are not finite, or too "
                    f"large for {str(self.dtype).removeprefix('torch.')}: rows {self.describe_rows(videos, modality)}. "
                    "No accuracy or prediction may come from them: make or download the features of these rows again, "
                    "or leave the rows out of the split"
                )

    def describe_rows(self, videos: Sequence[int], modality: int = 0, most: int = 20) -> str:
        """The rows of some videos, with their ids, by feature file, for error messages; ``most`` in each."""
        described = []
        for part, files in enumerate(self.parts):
            path = files[modality].path
            rows = [int(self.rows[video]) for video in videos if self.part_of[video] == part]
            ids = video_ids(path.parent, rows) if path.name in FEATURES else [""] * len(rows)  # the noisy have none
            named = [f"{row} ({name})" if name else row for row, name in zip(rows, ids, strict=True)]
            described += [f"[{listed(named, most)}] of {path.name}"] if named else []
        return " and ".join(described)

    def __getitem__(self, index: int) -> Batch:
        return Batch(*(tensor[0] for tensor in self.__getitems__([index])))

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        out = self.allocate(len(indices))
        self.read_into(out, torch.as_tensor(indices))
        return out

    def allocate(self, length: int, device: torch.device | None = None) -> Batch:
        """Room for some of the videos, on the CPU by default."""
        features = (
            torch.empty(length, *files[0].shape[1:], dtype=getattr(torch, self._dtype(files).name), device=device)
            for files in zip(*self.parts, strict=True)
        )
        return Batch(*features, self.labels.new_empty((length, *self.labels.shape[1:]), device=device))

    def read_into(self, out: Batch, index: Tensor) -> None:
        """Read the videos of ``index`` into ``out``, which is on the CPU."""
        for features, source, files in zip(out[:2], self.sources, zip(*self.parts, strict=True), strict=True):
            for part, file in enumerate(files):
                places = torch.nonzero(self.part_of[source[index]] == part).flatten()
                file.read(self.rows[source[index][places]].tolist(), features.numpy(), places.tolist())
        out.labels.copy_(self.labels[index])

    def _dtype(self, files: Sequence[FeatureFile]) -> np.dtype:
        is_half = all(file.dtype == np.float16 for file in files)
        return np.dtype(np.float16 if is_half else str(self.dtype).removeprefix("torch."))


class AVEFolder:
    """A folder in the AVE layout, whose files have the number of events and the feature widths of ``config``.

    Features that are not stored as float16 are read as ``dtype``, ``torch.float32`` or ``torch.float64``.
    """

    def __init__(self, root: Path, config: NetworkConfig, dtype: torch.dtype) -> None:
        self.root = root
        self.num_events = config.num_events
        self.widths = (config.visual_dim, config.audio_dim)
        self.dtype = dtype

    def split(self, name: str) -> AVEDataset:
        """A split (``train``, ``val`` or ``test``) with labels per segment."""
        require_files(self.root, (*FEATURES, "right_labels.h5", f"{name}_order.h5"))
        visual, audio = self._features(*FEATURES)
        labels = read_labels(segment_label_file(self.root), (*visual.shape[:2], self.num_events + 1))
        return AVEDataset(
            [(visual, audio, labels, read_order(self.root / f"{name}_order.h5", len(visual)))], self.dtype, name
        )

    def weakly_labelled(self) -> AVEDataset:
        """The weakly-supervised training set, labels per video: the train rows, then any noisy rows."""
        noisy = NOISY if has_noisy_set(self.root) else ()
        require_files(self.root, (*FEATURES, "mil_labels.h5", "train_order.h5", *noisy))
        visual, audio = self._features(*FEATURES)
        labels = read_labels(self.root / "mil_labels.h5", (len(visual), self.num_events + 1))
        parts = [(visual, audio, labels, read_order(self.root / "train_order.h5", len(visual)))]
        if noisy:
            noisy_visual, noisy_audio = self._features(*NOISY[:2])
            noisy_labels = read_labels(self.root / "labels_noisy.h5", (len(noisy_visual), self.num_events + 1))
            if noisy_visual.shape[1:] != visual.shape[1:]:
                raise InputError(
                    f"{noisy_visual.path}: videos of shape {noisy_visual.shape[1:]}, "
                    f"expected {visual.shape[1:]} as in {visual.path.name}"
                )
            parts.append((noisy_visual, noisy_audio, noisy_labels, np.arange(len(noisy_visual))))
        return AVEDataset(parts, self.dtype)

    def class_names(self) -> list[str]:
        """The event names by class index, from ``Annotations.txt``; numbered names if the folder has none."""
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
        """All event names of ``Annotations.txt``; None if the folder has no such file."""
        path = self.root / ANNOTATIONS
        return class_names(read_annotations(path)) if path.is_file() else None

    def extraction(self) -> dict[str, object]:
        """The settings of ``tools.extract_features`` that made the features; empty for features of another origin."""
        return read_extraction(self.root)

    def _features(self, visual_name: str, audio_name: str) -> tuple[FeatureFile, FeatureFile]:
        visual = FeatureFile(self.root / visual_name, ndim=5, width=self.widths[0])
        audio = FeatureFile(self.root / audio_name, ndim=3, width=self.widths[1])
        if visual.shape[:2] != audio.shape[:2]:
            raise InputError(
                f"{visual.path} has {visual.shape[0]} videos of {visual.shape[1]} segments, "
                f"{audio.path.name} {audio.shape[0]} of {audio.shape[1]}; expected the same"
            )
        return visual, audio


def partners_of_another_event(events: Tensor) -> Tensor | None:
    """For each video the next one, cyclically, with a different event (n,); None if there is only one event."""
    last_of_run = torch.nonzero(events != events.roll(-1)).flatten()  # the video after it has another event
    if not len(last_of_run):
        return None
    run = torch.searchsorted(last_of_run, torch.arange(len(events))) % len(last_of_run)
    return (last_of_run[run] + 1) % len(events)
