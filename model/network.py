"""The interface between the harness and a network, and the one rule by which it decides on a segment.

Engine, dataset and tools know a network by this file alone. ``docs/NETWORKS.md`` shows how to write one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from configs.values import check_types

LossTerms = dict[str, Tensor]  # scalars by name, ``loss``, from which the gradients come, first
Observation = dict[str, Tensor]  # by name: curves (b, t), such as gates, and maps (b, t, r), such as attention


def maps_and_curves(observation: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is observed of videos, or of one, by its name in words: maps have three axes, curves fewer."""
    named = {name.replace("_", " "): values for name, values in observation.items()}
    maps = {name: values for name, values in named.items() if values.ndim == 3}
    return maps, {name: values for name, values in named.items() if name not in maps}


@dataclass(frozen=True)
class NetworkConfig:
    """Hyperparameters of a network, which adds its own as fields with defaults.

    A config file need not say the first three: they come from the data. The defaults are AVE's.
    """

    num_events: int = 28  # event classes; background is not counted
    visual_dim: int = 512  # width of a region
    audio_dim: int = 128  # width of a segment's sound

    def __post_init__(self) -> None:
        check_types(self)


class Decisions(NamedTuple):
    """All that measures, thresholds, reports and predictions read of a network's outputs.

    A network that scores events and background in every segment has p(best event) / (p(best event) + p(background)) as
    ``event_probability``: above 0.5, the best event is the best of all classes.
    """

    event_probability: Tensor  # (b, t), float64, that a segment shows an event
    class_probability: Tensor  # (b, C) or (b, t, C), float64; C counts the events, and background last if it is scored

    @property
    def of_segments(self) -> Tensor:
        """The probability of each class (b, t, C) in a segment: that of its video, if segments have not their own."""
        classes = self.class_probability
        return classes if classes.ndim == 3 else classes.unsqueeze(1).expand(-1, self.event_probability.shape[1], -1)

    @property
    def best_class(self) -> Tensor:
        """The class of each segment (b, t) if it shows an event; background can be among them."""
        return self.of_segments.argmax(dim=-1)

    @property
    def best_probability(self) -> Tensor:
        """The probability of the best class of each segment (b, t)."""
        return self.of_segments.amax(dim=-1)

    @property
    def of_videos(self) -> Tensor:
        """The probability of each class (b, C) in a video: the highest over its segments, if they have their own."""
        return self.class_probability if self.class_probability.ndim == 2 else self.class_probability.amax(dim=1)

    def classes(self, threshold: float, background: int) -> Tensor:
        """The decision on each segment (b, t): its best class if the event probability is above ``threshold``."""
        return self.best_class.where(self.event_probability > threshold, background)

    def named(self, num_events: int) -> Tensor:
        """The event (b,) that each video is said to show, whether or not a segment is decided to show it."""
        return self.of_videos[:, :num_events].argmax(dim=-1)


class Network(nn.Module, ABC):
    """A network for audio-visual event localization, which the harness trains, evaluates and predicts with."""

    setting: ClassVar[str]  # "supervised": it trains on labels per segment; "weakly": per video
    Config: ClassVar[type[NetworkConfig]] = NetworkConfig
    event_threshold: ClassVar[float] = 0.5  # of the event probability, if neither config nor calibration says another
    published_config: ClassVar[str]  # in configs/, which scores the published checkpoint as its authors do ...
    published_values: ClassVar[Mapping[str, object]] = {}  # ... with these values

    mixes_videos = False  # whether the outputs for a video depend on the other videos of its batch

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def forward(self, visual: Tensor, audio: Tensor) -> NamedTuple:
        """Visual features (b, t, h, w, visual_dim) and audio features (b, t, audio_dim) to a named tuple of tensors.

        The first axis of every output counts the videos. An output may be None.
        """

    @abstractmethod
    def loss(self, outputs: NamedTuple, labels: Tensor) -> LossTerms:
        """The loss, and its terms, for one-hot labels: (b, t, K + 1) per segment, or (b, K + 1) per video."""

    @abstractmethod
    def decisions(self, outputs: NamedTuple) -> Decisions:
        """The probabilities that decide on each segment."""

    def decide(self, outputs: NamedTuple) -> Tensor:
        """The class of each segment (b, t), with this network's own threshold."""
        return self.decisions(outputs).classes(self.event_threshold, self.config.num_events)

    def observe(self, outputs: NamedTuple) -> Observation:
        """Curves and maps of a forward pass that report and pages show; none by default."""
        return {}

    @contextmanager
    def observed(self) -> Iterator[Callable[[NamedTuple], Observation]]:
        """Gives a function of the last outputs like ``observe``. Override it to record parts while they run."""
        yield self.observe

    @classmethod
    def unmixed(cls, config: NetworkConfig) -> NetworkConfig:
        """The same network, in which a prediction does not depend on the other videos of a batch."""
        return config

    def products(self) -> dict[str, nn.Parameter]:
        """The weights, by name, that only go into products as they are: under bfloat16 they are cast together.

        By default none: autocast casts each of them.
        """
        return {}

    @classmethod
    def recognizes(cls, weights: Mapping[str, Tensor]) -> bool:
        """Whether weights, by the authors' names, are those of this network's published checkpoint."""
        return False

    def from_published(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert the weights of a published checkpoint that it ``recognizes`` to this network's state dict.

        Raises:
            ValueError: entries are missing, unknown or of the wrong shape; the message lists them all.
        """
        raise NotImplementedError
