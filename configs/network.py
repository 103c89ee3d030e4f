"""The hyperparameters of the network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from reprlib import repr as short_repr  # shortens a value of any size
from types import MappingProxyType
from typing import Any

from configs.variants import sorted_variants

SCOPES = ("video", "batch")
PRECISIONS = ("fp32", "bf16", "fp64")
MAX_INT = 2**31 - 1


@dataclass(frozen=True)
class MAGANConfig:
    """Hyperparameters of MAGAN; the defaults are the published ones, except for the attention scope.

    Raises:
        TypeError: a value of the wrong type.
        ValueError: a value out of range; the message names it and what was expected.
    """

    visual_dim: int = 512  # width of a region (VGG-19 pool5)
    audio_dim: int = 128  # width of a segment's sound (VGGish)
    d_model: int = 256  # width of everything after co-attention
    num_heads: int = 4  # of every attention
    num_events: int = 28  # event classes; background is not counted
    encoder_hidden: int = 1024  # feed-forward width of the temporal encoders; 2048 in the weakly-supervised setting
    decoder_hidden: int = 1024  # feed-forward width of the temporal decoders
    top_segments: int = 4  # segments averaged into a video's score; a video needs at least as many
    alpha: float = 0.1  # strength of the unimodal gates
    event_threshold: float = 0.7  # a segment is an event above this probability; 0.5 in the weakly-supervised setting
    refine_attention_dropout: float = 0.1
    refine_dropout: float = 0.2
    temporal_dropout: float = 0.1
    interaction_attention_dropout: float = 0.2
    interaction_dropout: float = 0.1
    # The extent of the refinement's self-attention. "video": over the regions of a segment, the segments of a video.
    # "batch": as in the published code, over all segments of the batch, and all videos of the batch.
    scope: str = "video"
    # Parts left out or mended, by name; configs/variants.py lists them.
    variant: tuple[str, ...] = field(default=(), metadata={"since": "1.1"})

    def __post_init__(self) -> None:
        check_types(self)
        object.__setattr__(self, "variant", sorted_variants(self.variant))
        for name in (each.name for each in fields(self) if each.name.endswith("dropout")):
            require(self, name, lambda share: 0 <= share < 1, "at least 0 and less than 1")
        heads = self.num_heads
        for name in ("visual_dim", "audio_dim", "d_model"):
            require(self, name, lambda width: width % heads == 0, f"a multiple of num_heads ({heads})")
        require(self, "alpha", lambda alpha: 0 <= alpha <= 1, "0 to 1")
        require(self, "event_threshold", lambda threshold: 0 < threshold < 1, "more than 0 and less than 1")
        require(self, "scope", lambda scope: scope in SCOPES, f"one of {', '.join(SCOPES)}")


def require(config: object, name: str, valid: Callable[[Any], bool], expected: str) -> None:
    """Raise a ``ValueError`` that names the field, its value and what was expected unless the value is ``valid``."""
    value = getattr(config, name)
    if not valid(value):
        raise ValueError(f"{name} is {short_repr(value)}, expected {expected}")


def check_types(
    config: object,
    at_least: Mapping[str, int] = MappingProxyType({}),
    at_most: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Check the numbers of a config dataclass against their declared types and ranges.

    An int lies between 1 and 2**31 - 1; ``at_least`` and ``at_most`` give other limits by field name.

    A ``TypeError`` or ``ValueError`` names the field, its value and what was expected.
    """
    for each in fields(config):
        value = getattr(config, each.name)
        if each.type is int:
            lowest, highest = at_least.get(each.name, 1), at_most.get(each.name, MAX_INT)
            if type(value) is not int:
                raise TypeError(f"{each.name} is {short_repr(value)}, expected a whole number")
            if value < lowest:
                raise ValueError(f"{each.name} is {short_repr(value)}, expected {lowest} or more")
            if value > highest:
                raise ValueError(f"{each.name} is {short_repr(value)}, expected {highest} or less")
        elif each.type is float and type(value) not in (int, float):
            raise TypeError(f"{each.name} is {short_repr(value)}, expected a number")
