"""Prediction of the events in videos of any length with a trained network."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from configs.ave import EVENTS
from model.checkpoint import load_checkpoint
from model.network import Decisions, Network
from model.registry import make_network, network_config
from utils.arithmetic import allow_tf32, finite, for_decision, has_float64, parameter_dtype
from utils.errors import InputError

log = logging.getLogger(__name__)

Features = np.ndarray | Tensor
AVE_SEGMENTS = 10  # seconds of a video of AVE


class Event(NamedTuple):
    """A maximal span of seconds of one class."""

    name: str
    start: int  # s
    end: int  # s, exclusive
    probability: float  # mean over its seconds of event_probability times the class probability


class Prediction(NamedTuple):
    """The prediction for a video of t seconds. The probabilities are the network's own, not calibrated."""

    events: list[Event]
    classes: np.ndarray  # (t,), int64; background is the class after the events
    event_probability: np.ndarray  # (t,), float64, that a second shows an event
    class_probability: np.ndarray  # (t, C), float64; C counts the events, and background last if it is scored
    observation: dict[str, np.ndarray] | None = None  # if asked for: float32, by name, maps (t, h, w) and curves (t,)


class TrainedNetwork:
    """A network for prediction. ``load_network`` makes one from a checkpoint.

    Args:
        network: with its weights, in evaluation mode.
        class_names: of its events.
        segments: length in seconds of the videos that it was trained on, and of the windows that it reads.
        threshold: of the event probability, above which a second shows an event.
        extraction: how the features that it was trained on were made, as far as known: ``preprocessing`` of the
            pictures, ``weights``, and other settings of ``tools.extract_features``.
        scores: of the checkpoint, such as accuracies.
    """

    def __init__(
        self,
        network: Network,
        class_names: Sequence[str],
        segments: int,
        threshold: float,
        extraction: Mapping[str, object] | None = None,
        scores: Mapping[str, object] | None = None,
    ) -> None:
        self.network = network
        self.class_names = list(class_names)
        self.segments = segments
        self.threshold = threshold
        self.extraction = dict(extraction or {})
        self.scores = dict(scores or {})

    def predict(self, visual: Features, audio: Features, observe: bool = False) -> Prediction | list[Prediction]:
        """Predict the events of one video or of several of the same length.

        A video longer than ``segments`` is read in windows that overlap by half, and their probabilities are averaged
        for each second. A shorter one is padded by repeating its last second. In attention scope ``batch``, that of the
        published checkpoint, the videos of one call share a batch; in scope ``video`` they are predicted independently.

        Args:
            visual: (t, h, w, 512) or (b, t, h, w, 512), NumPy or torch, any float type.
            audio: (t, 128) or (b, t, 128), likewise.
            observe: keep what the network observes, too, averaged like the probabilities: 1.4 MB an hour of MAGAN's
                attention and gates for 7 x 7 maps.

        Returns:
            A ``Prediction``, or a list of b.

        Raises:
            ValueError: a shape or type does not fit, or a feature or output is not finite; the message says which.
        """
        visual, audio, single = self._tensors(visual, audio)
        predictions = self._predictions([(visual, audio)], observe)
        return predictions[0] if single else predictions

    def predict_parts(self, parts: Iterable[tuple[Features, Features]], observe: bool = False) -> Prediction:
        """Predict the events of one video whose features come in parts, as ``predict`` does for all of them at once.

        Holds a window and a part in memory, so that a video may have any length.

        Args:
            parts: visual (t, h, w, 512) and audio (t, 128) of consecutive seconds, a few at a time.
            observe: as ``predict``.

        Raises:
            ValueError: as ``predict``.
        """
        return self._predictions((self._tensors(*part)[:2] for part in parts), observe)[0]

    def _tensors(self, visual: Features, audio: Features) -> tuple[Tensor, Tensor, bool]:
        """Features (b, t, ...) on the device of the network, and whether they were those of a single video."""
        visual, audio = (self._tensor(*each) for each in (("visual", visual, 4), ("audio", audio, 2)))
        if (visual.ndim == 5) != (audio.ndim == 3):
            raise ValueError(
                f"visual features have shape {tuple(visual.shape)} and audio features {tuple(audio.shape)}, "
                "expected both of one video or both of several"
            )
        single = visual.ndim == 4
        if single:
            visual, audio = visual.unsqueeze(0), audio.unsqueeze(0)
        if visual.shape[:2] != audio.shape[:2]:
            raise ValueError(
                f"visual features have {visual.shape[0]} videos of {visual.shape[1]} seconds, "
                f"audio features {audio.shape[0]} of {audio.shape[1]}; expected the same"
            )
        return visual, audio, single

    def _tensor(self, modality: str, features: Features, ndim: int) -> Tensor:
        weight = next(self.network.parameters())  # for the device and dtype
        width = getattr(self.network.config, f"{modality}_dim")
        axes = f"seconds, height, width, {width}" if ndim == 4 else f"seconds, {width}"
        if not isinstance(features, Tensor):
            features = _as_numbers(modality, features)
        shape = tuple(features.shape)
        if features.ndim not in (ndim, ndim + 1) or shape[-1] != width or 0 in shape:
            raise ValueError(f"{modality} features have shape {shape}, expected ({axes}) or (videos, {axes})")
        is_float = features.is_floating_point() if isinstance(features, Tensor) else features.dtype.kind == "f"
        if not is_float:
            raise ValueError(f"{modality} features have type {features.dtype}, expected floating-point numbers")
        if not isinstance(features, Tensor):
            features = _as_tensor(features, weight.dtype)
        features = features.to(weight.device, weight.dtype)
        if not finite(features).all():  # also if a value is too large for the network's dtype
            dtype = str(weight.dtype).removeprefix("torch.")
            raise ValueError(f"{modality} features are not all finite as {dtype}, or too large for it")
        return features

    def _predictions(self, parts: Iterable[tuple[Tensor, Tensor]], observe: bool) -> list[Prediction]:
        """The predictions for b videos whose features (b, t, ...) come in parts."""
        values = {name: each.cpu() for name, each in self._per_second(parts, observe).items()}
        decisions = Decisions(*(values.pop(name) for name in Decisions._fields))
        if not all(each.isfinite().all() for each in decisions):
            raise ValueError("the network's outputs are not finite: the features are too large for its arithmetic")
        decided = decisions.classes(self.threshold, len(self.class_names)).numpy()
        probability = (decisions.event_probability * decisions.best_probability).numpy()
        event, classes = (each.numpy() for each in decisions)
        return [
            Prediction(
                events_of(decided[i], probability[i], self.class_names),
                decided[i],
                event[i],
                classes[i],
                {name: each[i].numpy() for name, each in values.items()} if observe else None,
            )
            for i in range(len(event))
        ]

    @torch.inference_mode()
    def _per_second(self, parts: Iterable[tuple[Tensor, Tensor]], observe: bool) -> dict[str, Tensor]:
        """The fields of ``Decisions``, (b, t) and (b, t, C), and what is observed, float32, by name.

        Means over the windows that show a second. Nothing here waits for the device.
        """
        allow_tf32(False)
        windows = Windows(parts, self.segments)
        found: list[tuple[int, dict[str, Tensor]]] = []  # of each window: its first second, values (b, t, ...)
        with self.network.observed() if observe else nullcontext() as observed:
            for start, visual, audio in windows:
                outputs = self.network(visual, audio)
                decisions = self.network.decisions(for_decision(outputs))
                values = decisions._replace(class_probability=decisions.of_segments)._asdict()
                for name, each in (observed(outputs) if observe else {}).items():
                    regions = visual.shape[2:4] if each.ndim == 3 else ()
                    values[name] = each.float().view(*each.shape[:2], *regions)  # (b, t, h, w) or (b, t)
                found.append((start, values))
        return {name: _mean(found, name, windows.length) for name in found[0][1]}


def events_of(classes: np.ndarray, probability: np.ndarray, names: Sequence[str]) -> list[Event]:
    """The events in classes (t,), background after ``names``, each with the mean of ``probability`` (t,)."""
    bounds = np.flatnonzero(np.diff(classes)) + 1
    return [
        Event(names[classes[start]], int(start), int(end), float(probability[start:end].mean()))
        for start, end in zip([0, *bounds], [*bounds, len(classes)], strict=True)
        if classes[start] < len(names)
    ]


def _mean(found: Sequence[tuple[int, dict[str, Tensor]]], name: str, length: int) -> Tensor:
    """The mean (b, length, ...) of values (b, t, ...) of windows, given with their first seconds."""
    first = found[0][1][name]
    b, t, *rest = first.shape
    total, count = first.new_zeros(b, max(length, t), *rest), first.new_zeros(max(length, t), *[1] * len(rest))
    for start, values in found:
        total[:, start : start + t] += values[name]
        count[start : start + t] += 1
    return (total / count)[:, :length]


def _as_numbers(modality: str, features: object) -> np.ndarray:
    """Convert features that are not a tensor to an array of any numeric type."""
    try:
        array = np.asarray(features)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{modality} features cannot be read as numbers: {error}") from error
    if array.dtype.kind not in "fiubc":
        raise ValueError(f"{modality} features cannot be read as numbers: they have type {array.dtype}")
    return array


def _as_tensor(array: np.ndarray, dtype: torch.dtype) -> Tensor:
    """A float array as a tensor. NumPy converts byte orders, long doubles and views, which torch cannot read."""
    native = np.float64 if dtype == torch.float64 else np.float32
    with np.errstate(over="ignore", invalid="ignore"):
        return torch.from_numpy(np.require(array, native, ["C", "W"]))


class Windows:
    """Windows of ``size`` seconds that cover a video and overlap by half, the last one by more.

    Iterate once over the first second of a window, its visual features (b, size, ...) and its audio features (b, size,
    128). A video shorter than a window repeats its last second.

    Attributes:
        length: seconds of the video so far.
    """

    def __init__(self, parts: Iterable[tuple[Tensor, Tensor]], size: int) -> None:
        self.parts, self.size, self.length = parts, size, 0

    def __iter__(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        start, step, latest = 0, max(1, self.size // 2), ()
        for part in self.parts:
            held = [each[:, -self.size :] for each in latest]
            latest = [torch.cat(pair, dim=1) for pair in zip(held, part, strict=True)] if held else part
            self.length += part[0].shape[1]
            while start + self.size <= self.length:
                yield start, *(_cut(each, start - self.length, self.size) for each in latest)
                start += step
        if self.length < self.size:
            missing = self.size - self.length
            yield 0, *(torch.cat([each, *missing * [each[:, -1:]]], dim=1) for each in latest)
        elif start - step < self.length - self.size:
            yield self.length - self.size, *(_cut(each, -self.size, self.size) for each in latest)


def _cut(features: Tensor, begin: int, size: int) -> Tensor:
    """``size`` seconds of features (b, t, ...), the first of which is ``-begin`` seconds before their end."""
    begin += features.shape[1]
    return features[:, begin : begin + size]


def load_network(
    checkpoint: str | PathLike,
    device: str | torch.device = "cpu",
    class_names: Sequence[str] | None = None,
    segments: int | None = None,
) -> TrainedNetwork:
    """Load a checkpoint of either setting, ours or the authors', for prediction.

    A checkpoint of ours predicts in scope ``video``, whatever scope its config has, so that a prediction does not
    depend on other videos; if it was trained in scope ``batch``, the log warns. A published checkpoint predicts as it
    was trained, in scope ``batch`` and float64.

    Args:
        checkpoint: the file, such as a run's ``best.pth.tar``.
        device: where the arithmetic runs.
        class_names: of the events; by default those in the checkpoint, or AVE's for a published one.
        segments: length in seconds of the videos that it was trained on; by default as in the checkpoint, or 10.

    Raises:
        InputError: the checkpoint is missing, damaged or does not fit its config, or ``device`` lacks its precision.
        ValueError: the number of class names or segments does not fit the network.
    """
    loaded = load_checkpoint(Path(checkpoint))
    kind = loaded.network_class()
    config = network_config(kind, loaded.config)
    if not loaded.published and (unmixed := kind.unmixed(config)) != config:
        log.warning("warning: %s predicts each video alone, and was trained with attention over the batch", checkpoint)
        config = unmixed
    names, dtype = class_names or loaded.class_names or EVENTS, parameter_dtype(loaded.config.training.precision)
    network = make_network(kind, config, str(checkpoint))
    if len(names) != network.config.num_events:
        expected = f"expected {network.config.num_events}, one per event of the network"
        raise ValueError(f"{len(names)} class names, {expected}")
    if dtype == torch.float64 and not has_float64(torch.device(device)):
        raise InputError(f"{checkpoint}: predicts in float64, which {device} does not have: use the CPU (--gpu cpu)")
    network.to(device, dtype)
    loaded.load_into(network)
    segments = segments or loaded.segments or AVE_SEGMENTS
    return TrainedNetwork(network.eval(), names, segments, loaded.threshold, loaded.extraction, loaded.scores)
