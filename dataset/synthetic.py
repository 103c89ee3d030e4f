"""AVE-layout features with a known truth, made from random numbers.

Every event class has a visual prototype, an audio prototype and a modality bias: some classes are mainly seen, some
mainly heard. In its segments, an event adds its visual prototype to a block of regions and its audio prototype to the
sound. In other segments, distractors add one of the two alone, of the same class or of another: heard but not seen, or
seen but not heard, they are background. So neither modality alone locates the event. Noise is added, and the features
are the positive part of the sum, like the outputs of VGG-19's and VGGish's last ReLU.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from dataset.annotations import Annotation, class_names, noisy_labels, segment_labels, video_labels
from dataset.hdf5 import new_hdf5, open_hdf5, read_all
from dataset.layout import ANNOTATIONS
from utils.atomic import atomic_write
from utils.signals import deferred_signals

VISUAL_DIM, AUDIO_DIM = 512, 128
NUM_SEGMENTS = 10
TRUTH = "truth.h5"
NO_CLASS = -1  # where none is seen, or none is heard

# Independent streams of random numbers; those of single videos are [seed, stream, row].
_PROTOTYPES, _ANNOTATIONS, _SPLITS, _VIDEOS, _NOISY = range(5)


class SyntheticVideo(NamedTuple):
    """The features of one video, and the truth about them."""

    visual: np.ndarray  # (t, h, w, visual_dim), >= 0
    audio: np.ndarray  # (t, audio_dim), >= 0
    regions: np.ndarray  # (t, h, w), 1 where the event is both on and in this region
    seen: np.ndarray  # (t,), the class whose picture is there, or NO_CLASS
    heard: np.ndarray  # (t,), the class whose sound is there, or NO_CLASS


class SyntheticAVE:
    """A generator of videos. A video depends on the arguments and its row alone.

    Args:
        signal: strength of the prototypes over the noise, whose standard deviation is 1: the smaller, the harder.
        map_size: height and width of the visual maps; 7 in AVE.
        widths: of the visual and the audio features; those of AVE.
    """

    def __init__(
        self,
        num_events: int,
        signal: float,
        map_size: int,
        seed: int,
        widths: tuple[int, int] = (VISUAL_DIM, AUDIO_DIM),
    ) -> None:
        self.num_events = num_events
        self.signal = signal
        self.map_size = map_size
        self.seed = seed
        self.visual_dim, self.audio_dim = widths
        random = self._random(_PROTOTYPES)
        self.visual_prototypes = np.maximum(random.standard_normal((num_events, self.visual_dim), np.float32), 0)
        self.audio_prototypes = np.maximum(random.standard_normal((num_events, self.audio_dim), np.float32), 0)
        self.bias = random.permutation(np.linspace(-0.6, 0.6, num_events, dtype=np.float32))  # > 0: mainly seen
        self.visual_strength, self.audio_strength = signal * (1 + self.bias), signal * (1 - self.bias)

    def annotations(self, num_videos: int) -> list[Annotation]:
        """Annotations for ``num_videos`` videos, the classes in turn; two of five events last the whole video."""
        random = self._random(_ANNOTATIONS)
        annotations = []
        for row in range(num_videos):
            length = NUM_SEGMENTS if random.random() < 0.4 else int(random.integers(2, 9))
            start = int(random.integers(0, NUM_SEGMENTS - length + 1))
            event = f"event {row % self.num_events:02d}"
            annotations.append(Annotation(event, f"synthetic{row:05d}", "good", start, start + length))
        return annotations

    def splits(self, num_videos: int) -> dict[str, np.ndarray]:
        """Row numbers of the train, val and test split, in the proportions of AVE."""
        order = self._random(_SPLITS).permutation(num_videos)
        held_out = max(1, round(num_videos * 402 / 4143))
        return {
            "train": order[2 * held_out :],
            "val": order[:held_out],
            "test": order[held_out : 2 * held_out],
        }

    def video(self, row: int, event: int, start: int, end: int) -> SyntheticVideo:
        """The video of ``row``, with an event on segments [start, end)."""
        random = self._random(_VIDEOS, row)
        seen, heard = self._distractors(random, event)
        seen[start:end] = heard[start:end] = event
        return self._render(random, seen, heard)

    def noisy_video(self, row: int) -> SyntheticVideo:
        """A video without event: its sounds and pictures never meet."""
        random = self._random(_NOISY, row)
        return self._render(random, *self._distractors(random, int(random.integers(self.num_events))))

    def _random(self, *stream: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64([self.seed, *stream]))

    def _distractors(self, random: np.random.Generator, event: int) -> tuple[np.ndarray, np.ndarray]:
        """The classes seen (t,) and heard (t,) outside the event.

        Of every three segments, one shows a class without its sound, one has a sound without its picture, and one has
        neither. Half of these distractors are of the event's class.
        """
        seen, heard = np.full((2, NUM_SEGMENTS), NO_CLASS)
        kind = random.integers(3, size=NUM_SEGMENTS)
        other = random.integers(self.num_events, size=NUM_SEGMENTS)
        distractor = np.where(random.random(NUM_SEGMENTS) < 0.5, event, other)
        seen[kind == 0] = distractor[kind == 0]
        heard[kind == 1] = distractor[kind == 1]
        return seen, heard

    def _render(self, random: np.random.Generator, seen: np.ndarray, heard: np.ndarray) -> SyntheticVideo:
        size = self.map_size
        height, width = random.integers((size + 1) // 2, size, endpoint=True, size=2) if size > 1 else (1, 1)
        top, left = random.integers(0, size - height + 1), random.integers(0, size - width + 1)
        block = np.zeros((size, size), np.float32)
        block[top : top + height, left : left + width] = 1

        visual = random.standard_normal((NUM_SEGMENTS, size, size, self.visual_dim), np.float32)
        audio = random.standard_normal((NUM_SEGMENTS, self.audio_dim), np.float32)
        for segment in range(NUM_SEGMENTS):
            if (k := seen[segment]) != NO_CLASS:
                visual[segment] += block[..., None] * (self.visual_strength[k] * self.visual_prototypes[k])
            if (k := heard[segment]) != NO_CLASS:
                audio[segment] += self.audio_strength[k] * self.audio_prototypes[k]
        regions = ((seen == heard) & (seen != NO_CLASS))[:, None, None] * block
        return SyntheticVideo(np.maximum(visual, 0), np.maximum(audio, 0), regions, seen, heard)


def write_synthetic_ave(
    out: Path,
    generator: SyntheticAVE,
    annotations: Sequence[Annotation],
    num_noisy: int,
    dtype: str,
    progress: Callable[[Iterable], Iterable] = iter,
) -> None:
    """Write a whole AVE-layout folder: features, labels, orders, the noisy set, ``Annotations.txt`` and ``truth.h5``.

    One video is in memory at a time. The files appear together at the end; an interrupted call leaves none.

    Args:
        out: a folder that exists.
        annotations: one per video; their events are the generator's classes.
        num_noisy: number of videos without an event.
        progress: wraps the loop over all videos.
    """
    names = class_names(annotations)
    num_videos, size = len(annotations), generator.map_size
    clips = {"": num_videos, "_noisy": num_noisy}
    with deferred_signals() as deliver_signals, ExitStack() as stack:

        def create(name: str) -> h5py.File:
            return stack.enter_context(new_hdf5(out / name))

        features = {}
        for suffix, count in clips.items():
            shapes = {
                "visual": (count, NUM_SEGMENTS, size, size, generator.visual_dim),
                "audio": (count, NUM_SEGMENTS, generator.audio_dim),
            }
            for modality, shape in shapes.items():
                file = create(f"{modality}_feature{suffix}.h5")
                features[modality + suffix] = file.create_dataset("avadataset", shape, dtype)
        for name, labels in {
            "right_labels.h5": segment_labels(annotations, NUM_SEGMENTS),
            "mil_labels.h5": video_labels(annotations),
            "labels_noisy.h5": noisy_labels(num_noisy, len(names)),
        }.items():
            create(name)["avadataset"] = labels
        for split, rows in generator.splits(num_videos).items():
            create(f"{split}_order.h5")["order"] = rows
        text = "".join("&".join(map(str, annotation)) + "\n" for annotation in annotations)
        stack.enter_context(atomic_write(out / ANNOTATIONS)).write_text(text, encoding="utf-8")

        truth = create(TRUTH)
        truth["bias"] = generator.bias
        regions = truth.create_dataset("regions", (num_videos, NUM_SEGMENTS, size, size), np.uint8)
        seen, heard = (truth.create_dataset(name, (num_videos, NUM_SEGMENTS), np.int16) for name in ("seen", "heard"))

        for clip in progress([(suffix, row) for suffix, count in clips.items() for row in range(count)]):
            deliver_signals()
            suffix, row = clip
            if suffix:
                video = generator.noisy_video(row)
            else:
                event, _, _, start, end = annotations[row]
                video = generator.video(row, names.index(event), start, end)
                # The annotated span alone is the event: a distractor cannot be both seen and heard.
                regions[row], seen[row], heard[row] = video.regions, video.seen, video.heard
            features["visual" + suffix][row] = video.visual
            features["audio" + suffix][row] = video.audio


def read_truth(root: Path, name: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """Read ``bias`` (K,) or ``regions`` (rows, t, h, w) of synthetic data; None for data of another kind or shape."""
    path = root / TRUTH
    if not path.is_file():
        return None
    with open_hdf5(path, name) as truth:
        return read_all(truth, path) if truth.shape == shape else None
